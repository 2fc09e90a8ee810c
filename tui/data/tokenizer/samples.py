"""Short texts that show how tokenizers differ."""

from __future__ import annotations

ENGLISH = """\
The tokenizer decides what a model sees. "Unbelievable," she said, "it's 2026 and 1,234,567 tokens later \
we still don't know how to spell antidisestablishmentarianism!"

Common words are one token each. Rare names — Szczebrzeszyn, Llanfairpwllgwyngyll — fall apart into pieces.
"""

CHINESE = """\
分词器决定了模型看到的是什么。常用的词往往是一个词元，生僻的字却要拆成几个字节。
从前有座山，山里有座庙，庙里有个老和尚，正在给小和尚讲故事。
2026年11月30日，北京，气温−3℃，龘靐齉爩。
"""

KOREAN = """\
토크나이저는 모델이 무엇을 보는지 결정합니다. 자주 쓰는 낱말은 토큰 하나가 되지만, 드문 글자는 여러 \
바이트로 나뉩니다.
안녕하세요! 오늘은 날씨가 참 좋네요. 뷁, 똠방각하.
"""

CODE = """\
from collections import Counter

def most_common_pair(ids: list[int]) -> tuple[int, int]:
    \"\"\"The pair that byte-pair encoding merges next.\"\"\"
    pairs = Counter(zip(ids, ids[1:]))
    if not pairs:
        raise ValueError("nothing to merge")
    return max(pairs, key=lambda pair: (pairs[pair], pair))

for (let i = 0; i < tokens.length; i++) { total += tokens[i].bytes ?? 0x1F; }
"""

LATEX = r"""\begin{equation}
  \mathcal{L}(\theta) = -\frac{1}{N} \sum_{i=1}^{N} \log p_\theta(x_i \mid x_{<i})
  \quad\text{and}\quad \mathrm{bpb} = \frac{\mathcal{L}(\theta)}{\ln 2} \cdot \frac{T}{B}
\end{equation}
where $T$ is the number of tokens and $B$ the number of bytes.
"""

EMOJI = """\
A family: 👨\u200d👩\u200d👧\u200d👦 is four people and three joiners.
Thumbs up 👍 👍🏽, a flag 🇰🇷, a heart ❤\ufe0f, a pirate 🏴\u200d☠\ufe0f, fire 🔥🔥🔥.
"""

NUMBERS = """\
3.14159265358979 + 2,718,281,828 = 0x7FFF_FFFF?
1 12 123 1234 12345 123456 1234567
2026-11-30T18:05:42Z  +82-2-1234-5678  192.168.0.1
"""

SCRIPTS = """\
Привет, мир! Γειά σου Κόσμε. नमस्ते दुनिया। สวัสดีชาวโลก
こんにちは、世界。カタカナとひらがな。 e\u0301 is two code points, é is one.
"""

SAMPLES: dict[str, str] = {
    "English": ENGLISH,
    "中文": CHINESE,
    "한국어": KOREAN,
    "code": CODE,
    "LaTeX": LATEX,
    "emoji": EMOJI,
    "numbers": NUMBERS,
    "scripts": SCRIPTS,
}
"""By name, in the order of the list."""
