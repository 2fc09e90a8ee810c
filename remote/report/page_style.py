"""The style sheet of the report's page: light and dark, and on paper."""

STYLE = """
:root { --ground: #fafbfc; --ink: #1d242c; --muted: #5a6673; --rule: #c3cdd7; --panel: #f1f4f7;
  --link: #0068a6; --bad: #b33800;
  --plot-text: #1d242c; --plot-muted: #5a6673; --plot-rule: #c3cdd7; --plot-error: #b33800;
  --plot-warning: #8a5a00; --plot-good: #00704f; --plot-line: #0072b2; --plot-faint: #a9cbe2;
  --plot-ground: #fafbfc; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ground: #11151a; --ink: #d7dce2; --muted: #96a2b0; --rule: #2f3945; --panel: #171c23;
    --link: #56b4e9; --bad: #ff7a59;
    --plot-text: #d7dce2; --plot-muted: #96a2b0; --plot-rule: #2f3945; --plot-error: #ff7a59;
    --plot-warning: #f0b429; --plot-good: #3ccb9a; --plot-line: #56b4e9; --plot-faint: #2e5871;
    --plot-ground: #11151a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 78rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--rule); padding-bottom: .25rem; }
h3 { margin-top: 2rem; overflow-wrap: anywhere; }
.part { margin: 1.25rem 0 .25rem; color: var(--muted); font-size: 1rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; }
.bad { color: var(--bad); font-weight: 600; overflow-wrap: anywhere; }
.bad::before { content: "\\26A0\\00A0"; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1rem; margin: .5rem 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--rule); text-align: left; }
thead th { color: var(--muted); font-weight: 600; }
tbody th { font-weight: 500; }
.notes { color: var(--muted); font-size: .9rem; padding-left: 1.1rem; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .75rem; border-radius: .3rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--rule); border-radius: .3rem; overflow: hidden; }
figure svg { display: block; width: 100%; height: auto; }
details { margin: .75rem 0; }
summary { color: var(--link); cursor: pointer; }
.sample p { margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
.sample span { color: var(--muted); }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print {
  body { font-size: 11pt; } main { max-width: none; padding: 0; } nav { display: none; }
  figure, .sample, tr { break-inside: avoid; } h2, h3, h4 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
