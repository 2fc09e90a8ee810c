// A script of its own, before the page is drawn: with a later one a dark page would flash up light.
try {
  document.documentElement.dataset.theme = localStorage.getItem("nanochat-theme") || "auto";
} catch {
  document.documentElement.dataset.theme = "auto";
}
