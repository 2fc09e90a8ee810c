/* A libnvidia-ml.so.1 of our own: eight GPUs whose figures come from a text file.
 *
 * $FAKE_NVML names the file; it is read again at every call, so a test can change the machine while it is
 * watched. Lines are KEY=VALUE: `init` (what nvmlInit returns), `count`, `driver`, `hang` (seconds that
 * every reading takes), `crash` (1: abort in the middle of a reading), and for GPU i `i.util`,
 * `i.mem_used`, `i.mem_total`, `i.power` (mW), `i.limit` (mW), `i.temp`, `i.clock`, `i.reasons`, `i.ecc`,
 * `i.name`, `i.pids` (processes that compute there, such as 12,345 or, with the bytes that each holds,
 * 12:1024,345:2048), or `i.<figure>.error` for the NVML code that reading shall return, `i.error` for all
 * readings.
 *
 * Built with -DOLD_DRIVER it lacks what drivers before 510 and 535 lack: memory version 2 and the
 * "event reasons" name of the throttle bits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25 };

typedef struct { int index; } gpu_t;
typedef gpu_t *device_t;

static gpu_t gpus[64];
static int references = 0;

static int lookup(const char *key, char *value, size_t room) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256];
    int found = 0;
    size_t width = strlen(key);
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, width) == 0 && line[width] == '=') {
            snprintf(value, room, "%s", line + width + 1);
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

static long long number(const char *key, long long otherwise) {
    char value[128];
    return lookup(key, value, sizeof value) ? strtoll(value, NULL, 0) : otherwise;
}

static long long figure(device_t device, const char *name, long long otherwise) {
    char key[96];
    snprintf(key, sizeof key, "%d.%s", device->index, name);
    return number(key, otherwise);
}

/* What this reading shall return; also where a hanging or crashing driver does so. */
static int status(device_t device, const char *name) {
    char key[96];
    if (references == 0) return UNINITIALIZED;
    int machine = (int)number("broken", 0);
    if (machine) return machine;
    long long seconds = number("hang", 0);
    if (seconds) sleep((unsigned)seconds);
    if (number("crash", 0)) abort();
    int whole = (int)figure(device, "error", 0);
    if (whole) return whole;
    snprintf(key, sizeof key, "%s.error", name);
    return (int)figure(device, key, 0);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = (int)number("init", 0);
    if (code == 0) references++;
    return code;
}

int nvmlShutdown(void) {
    if (references == 0) return UNINITIALIZED;
    references--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    (void)code;
    return "an error of the fake";
}

int nvmlSystemGetDriverVersion(char *out, unsigned room) {
    char value[80] = "570.86.15";
    if (references == 0) return UNINITIALIZED;
    lookup("driver", value, sizeof value);
    if (strlen(value) + 1 > room) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (references == 0) return UNINITIALIZED;
    int machine = (int)number("broken", 0);
    if (machine) return machine;
    *count = (unsigned)number("count", 8);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device) {
    if (references == 0) return UNINITIALIZED;
    if (index >= (unsigned)number("count", 8) || index >= 64) return INVALID_ARGUMENT;
    gpus[index].index = (int)index;
    int code = (int)figure(&gpus[index], "handle.error", 0);
    if (code) return code;
    *device = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetName(device_t device, char *out, unsigned room) {
    char key[32], value[96] = "NVIDIA H100 80GB HBM3";
    int code = status(device, "name");
    if (code) return code;
    snprintf(key, sizeof key, "%d.name", device->index);
    lookup(key, value, sizeof value);
    if (strlen(value) + 1 > room) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

int nvmlDeviceGetUUID(device_t device, char *out, unsigned room) {
    int code = status(device, "uuid");
    if (code) return code;
    return snprintf(out, room, "GPU-%08d-fake", device->index) < (int)room ? SUCCESS : INSUFFICIENT_SIZE;
}

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_t;

#define NOT_AVAILABLE (~0ULL)

int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned *count, process_t *processes) {
    char key[32], value[128] = "", *rest = value, *word;
    unsigned found = 0, room = *count;
    int code = status(device, "pids");
    if (code) return code;
    snprintf(key, sizeof key, "%d.pids", device->index);
    lookup(key, value, sizeof value);
    while ((word = strtok_r(rest, ",", &rest)) != NULL) {
        if (found < room && processes) {
            memset(&processes[found], 0, sizeof *processes);
            processes[found].pid = (unsigned)strtoul(word, &word, 10);
            processes[found].used = *word == ':' ? strtoull(word + 1, NULL, 10) : NOT_AVAILABLE;
        }
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device_t device, unsigned *rates) {
    int code = status(device, "util");
    if (code) return code;
    rates[0] = (unsigned)figure(device, "util", 97);
    rates[1] = 50;
    return SUCCESS;
}

#define MEMORY_TOTAL (80LL << 30)
#define MEMORY_USED (71LL << 30)
#define MEMORY_RESERVED (1LL << 29)

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;

int nvmlDeviceGetMemoryInfo(device_t device, memory_v1 *memory) {
    int code = status(device, "mem");
    if (code) return code;
    memory->total = (unsigned long long)figure(device, "mem_total", MEMORY_TOTAL);
    memory->used = (unsigned long long)(figure(device, "mem_used", MEMORY_USED) + MEMORY_RESERVED);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetMemoryInfo_v2(device_t device, memory_v2 *memory) {
    if (memory->version != 0x02000028) return VERSION_MISMATCH;
    int code = status(device, "mem");
    if (code) return code;
    memory->total = (unsigned long long)figure(device, "mem_total", MEMORY_TOTAL);
    memory->used = (unsigned long long)figure(device, "mem_used", MEMORY_USED);
    memory->reserved = MEMORY_RESERVED;
    memory->free = memory->total - memory->used - memory->reserved;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(device_t device, unsigned long long *bits) {
    int code = status(device, "reasons");
    if (code) return code;
    *bits = (unsigned long long)figure(device, "reasons", 0);
    return SUCCESS;
}
#endif

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t device, unsigned long long *bits) {
    int code = status(device, "reasons");
    if (code) return code;
    *bits = (unsigned long long)figure(device, "reasons", 0);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device_t device, unsigned *milliwatts) {
    int code = status(device, "power");
    if (code) return code;
    *milliwatts = (unsigned)figure(device, "power", 689500);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(device_t device, unsigned *milliwatts) {
    int code = status(device, "limit");
    if (code) return code;
    *milliwatts = (unsigned)figure(device, "limit", 700000);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *celsius) {
    if (sensor != 0) return INVALID_ARGUMENT;
    int code = status(device, "temp");
    if (code) return code;
    *celsius = (unsigned)figure(device, "temp", 61);
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(device_t device, unsigned kind, unsigned *megahertz) {
    if (kind != 1) return INVALID_ARGUMENT; /* 1 is the SM clock */
    int code = status(device, "clock");
    if (code) return code;
    *megahertz = (unsigned)figure(device, "clock", 1980);
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(device_t device, unsigned type, unsigned counter, unsigned long long *count) {
    if (type != 1 || counter != 0) return INVALID_ARGUMENT; /* uncorrected, volatile */
    int code = status(device, "ecc");
    if (code) return code;
    *count = (unsigned long long)figure(device, "ecc", 0);
    return SUCCESS;
}
