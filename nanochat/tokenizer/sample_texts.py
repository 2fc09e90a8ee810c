"""Short texts of several kinds, written for comparing tokenizers."""

NEWS = """\
LISBON, Tuesday — After three days of talks that ran past midnight, the ministers of fourteen coastal \
states agreed on Tuesday to cut the catch of North Atlantic sardines by 18 per cent over the next two \
seasons. "Nobody at this table got what they came for," said Helena Duarte, who chaired the meeting, "but \
the fish will still be here in 2040, and so will the boats." Fishermen's unions called the decision "a \
blow to the small harbours" and announced protests in Vigo, Porto and Brest for the weekend. Under the \
plan, vessels shorter than 12 metres keep their present quotas; larger trawlers lose up to a third of \
theirs and may apply for compensation from a fund of €240 million.

Scientists who had warned of a collapse welcomed the deal with some caution. The stock, they noted, has \
shrunk from an estimated 1.1 million tonnes in 2006 to fewer than 400,000 today, and warmer water is \
pushing the shoals northwards by roughly five kilometres a year.
"""

KOREAN = """\
지난 주말 부산의 오래된 시장 골목에서 작은 책방이 문을 열었습니다. 주인 박서윤 씨는 서울에서 십 년 동안 \
편집자로 일하다가 고향으로 돌아와, 할머니가 생선을 팔던 가게를 직접 고쳤다고 합니다. "책을 사지 않아도 \
괜찮아요. 비가 오면 들어와서 차 한 잔 마시고 가세요." 벽에는 손님들이 남긴 쪽지가 가득하고, 창가에는 \
고양이 두 마리가 졸고 있습니다.

책방에서는 매주 목요일 저녁 여덟 시에 낭독회가 열립니다. 참가비는 5,000원이고, 학생은 무료입니다. 첫 \
모임에서는 바다를 주제로 쓴 시 열두 편을 함께 읽었습니다.
"""

CODE = '''\
from collections import deque
from dataclasses import dataclass, field


@dataclass
class RateLimiter:
    """Lets `limit` calls through in any `window` seconds."""

    limit: int
    window: float = 60.0
    _calls: deque[float] = field(default_factory=deque, repr=False)

    def allow(self, now: float) -> bool:
        while self._calls and now - self._calls[0] >= self.window:
            self._calls.popleft()
        if len(self._calls) >= self.limit:
            return False
        self._calls.append(now)
        return True


def shortest_path(graph: dict[str, dict[str, int]], start: str, goal: str) -> list[str]:
    # Breadth first: every edge counts the same.
    queue, parent = deque([start]), {start: None}
    while queue:
        node = queue.popleft()
        if node == goal:
            path = []
            while node is not None:
                path.append(node)
                node = parent[node]
            return path[::-1]
        for neighbour in graph.get(node, {}):
            if neighbour not in parent:
                parent[neighbour] = node
                queue.append(neighbour)
    raise KeyError(f"no path from {start!r} to {goal!r}")
'''

MATHS = r"""
\section{A bound on the partial sums}

Let $f\colon [1,\infty) \to \mathbb{R}$ be positive and decreasing. For every integer $n \ge 2$,
\begin{equation}\label{eq:integral}
  \int_{1}^{n+1} f(x)\,dx \;\le\; \sum_{k=1}^{n} f(k) \;\le\; f(1) + \int_{1}^{n} f(x)\,dx .
\end{equation}

\begin{proof}
Since $f$ is decreasing, $f(k+1) \le \int_{k}^{k+1} f(x)\,dx \le f(k)$ for each $k \in \{1, \dots, n\}$.
Summing the right inequality over $k = 1, \dots, n$ gives the lower bound; summing the left one over
$k = 1, \dots, n-1$ and adding $f(1)$ gives the upper bound. \qedhere
\end{proof}

With $f(x) = x^{-s}$ and $s > 1$ it follows that
\[
  \frac{1}{s-1} \;\le\; \zeta(s) = \sum_{k=1}^{\infty} \frac{1}{k^{s}} \;\le\; \frac{s}{s-1},
  \qquad\text{hence}\qquad \lim_{s \to 1^{+}} (s-1)\,\zeta(s) = 1 .
\]
"""

SCIENCE = """\
When a leaf is moved from shade into full sunlight, its chlorophyll absorbs far more energy than the \
enzymes of the Calvin cycle can use. The surplus does not simply vanish: within seconds the thylakoid \
lumen acidifies, the protein PsbS changes its conformation, and violaxanthin is converted by way of \
antheraxanthin into zeaxanthin. Together these steps, known as non-photochemical quenching, turn \
excitation energy into heat before it can form reactive oxygen species. Measurements of chlorophyll \
fluorescence at 25 °C show quenching within about 60 s and relaxation over 10–30 min, depending on the \
species. In transgenic tobacco, faster relaxation raised dry mass by roughly 15 % in field trials, which \
suggests that the slow return to efficient light harvesting costs crops a measurable share of their daily \
carbon gain (CO₂ uptake, µmol m⁻² s⁻¹).
"""

TEXTS = {"news": NEWS, "korean": KOREAN, "code": CODE, "maths": MATHS, "science": SCIENCE}
"""Name to text: English news, Korean, Python, LaTeX, biology."""
