"""Probes of a dataset: how well does one nuisance alone tell real from synthetic?

    figures = run_probe([statistics["codec"] for statistics in everything], people)

Rules, told once:

1. A probe is a regularised logistic regression on the statistics of one nuisance.
2. It is judged on clips whose makers and whose people it has not seen: synthetic clips of some makers and real clips of
   some people are left out together, and whoever is in both parts is left out of what it learns from. What only
   tells one maker from another is no shortcut to "forged".
3. Scores of different folds are never compared: the AUC counts pairs within a fold, summed over folds and their draws.
4. The interval resamples people (`detect.metrics.measure`). A probe fails above 0.60; the interval says how sure.

Beside it stands the AUC with only people left out: what a detector could take from the nuisance among makers it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.shortcut_pictures import Values
from detect.metrics import Measure, measure, roc_auc

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
LIMIT: Final = 0.60
MOST_FOLDS: Final = 8
DRAWS_OF_FOLDS: Final = 3
DRAWS: Final = 1000
FEWEST: Final = 8
"""Clips of a label under which a probe is not worth fitting."""


@dataclass(frozen=True)
class Probe:
    """One nuisance."""

    what: str
    """What it looks at."""
    remedy: str
    """What to do when it fails."""
    group: str
    """Name of its statistics."""


PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "background": Probe(
            "colour and structure beside the head, down to the chin",
            "film or choose both labels before the same backgrounds, or blur and mask them",
            "background",
        ),
        "background, network": Probe(
            "the same part by a frozen ImageNet network",
            "film or choose both labels before the same backgrounds, or blur and mask them",
            "background, network",
        ),
        "background motion": Probe(
            "how still the background is",
            "give still real recordings too, or mask the background; whole-frame makers freeze it",
            "stillness",
        ),
        "face masked": Probe(
            "all but the face: hair, clothes, background",
            "balance people, clothes and scenes; for whole-frame makers this part is forged too and may tell",
            "face masked",
        ),
        "face masked, network": Probe(
            "the same part by a frozen ImageNet network",
            "balance people, clothes and scenes; for whole-frame makers this part is forged too and may tell",
            "face masked, network",
        ),
        "silence": Probe(
            "when there is nothing to be heard, in clips with sound",
            "cut leading and trailing silence of both labels, or mix one room noise under both",
            "silence",
        ),
        "sound": Probe(
            "whether there is sound and of what kind",
            "remove the sound of all clips, or give all of them one codec, rate and level",
            "sound",
        ),
        "metadata": Probe(
            "container, profile, picture groups, tags, length, rate",
            "write all clips with one encoder and its settings, one length and one rate",
            "metadata",
        ),
        "marks": Probe(
            "a signed manifest or the unsigned mark of a generator",
            "sign both labels or neither, and strip metadata",
            "marks",
        ),
        "file names": Probe("name, order, length of the name", "give all clips names drawn by chance", "names"),
        "codec": Probe(
            "bits per pixel, sizes of pictures, blocks, quantised detail",
            "encode both labels again with the same ladder of settings after scaling to one size",
            "codec",
        ),
        "resolution": Probe("size and shape", "scale all clips to one size", "resolution"),
        "colour": Probe(
            "means, spreads and range of colour",
            "set mean and spread of light and colour of all clips to one value, or draw them at random",
            "colour",
        ),
        "sharpness": Probe(
            "detail at three scales, noise",
            "scale all clips down to the detail of the softest before scaling to one size",
            "sharpness",
        ),
        "crop margin": Probe(
            "share of the picture that the face takes, and its place",
            "crop all clips to one multiple of the face box",
            "crop",
        ),
        "first frame": Probe(
            "how the first picture differs from the others",
            "cut the first half second of all clips",
            "first frame",
        ),
    }
)


@dataclass(frozen=True, eq=False)
class People:
    """Whose clips they are. N clips."""

    synthetic_N: Bools
    person_N: Sequence[str]
    source_N: Sequence[str]
    maker_N: Sequence[str]
    """Of a real clip, anything: only people are left out there."""
    weight_N: Array = field(default_factory=lambda: np.zeros(0))
    """How much each clip counts; empty for all alike."""

    def __post_init__(self) -> None:
        """Refuse lists of other lengths, and weights that are negative."""
        lengths = {len(self.synthetic_N), len(self.person_N), len(self.source_N), len(self.maker_N)}
        if len(lengths) != 1 or len(self.weight_N) not in (0, len(self.synthetic_N)):
            raise ValueError(f"all lists must be of one length, got {sorted(lengths)} and {len(self.weight_N)} weights")
        if (self.weight_N < 0).any() or not np.isfinite(self.weight_N).all():
            raise ValueError("weights must be finite and not negative")

    @property
    def weights(self) -> Array:
        """(N,) weights."""
        return self.weight_N if len(self.weight_N) else np.ones(len(self.synthetic_N))

    def only(self, keep_N: Bools) -> People:
        """Of some clips."""
        at: list[int] = np.flatnonzero(keep_N).tolist()

        def picked(values: Sequence[str]) -> tuple[str, ...]:
            return tuple(values[i] for i in at)

        names = (picked(self.person_N), picked(self.source_N), picked(self.maker_N))
        return People(self.synthetic_N[at], *names, weight_N=self.weights[at])


@dataclass(frozen=True)
class ProbeFigures:
    """What a probe reached."""

    clips: int
    auc: Measure
    """With makers and people left out: this one is judged."""
    known_makers: Measure
    """With people left out only."""
    strongest: str = ""
    """The single statistic that tells most, with its own AUC over all clips; empty where statistics have no names."""

    @property
    def passes(self) -> bool | None:
        """Whether it stays at or under the limit; None where it could not be measured."""
        return self.auc.value <= LIMIT if self.auc.scored else None

    @property
    def sure(self) -> bool:
        """Whether the whole interval is on that side of the limit."""
        return self.auc.scored and (self.auc.high <= LIMIT if self.passes else self.auc.low > LIMIT)


def matrix(rows: Sequence[Values | None]) -> tuple[Array, Bools]:
    """Statistics as numbers: words become one column each, a value that is missing its column's median and a flag.

    Args:
        rows: one a clip; None or an empty one for a clip that has none at all.

    Returns:
        (K, D) for the clips that have some, and (N,) which those are.
    """
    keep_N = np.array([bool(row) for row in rows], bool)
    known = [row for row in rows if row]
    columns: list[Array] = []
    for name in dict.fromkeys(name for row in known for name in row):
        values = [row.get(name, nan) for row in known]
        if any(isinstance(value, str) for value in values):
            words = sorted({str(value) for value in values})
            columns += [np.array([str(value) == word for value in values], float) for word in words[1:]]
            continue
        numbers = np.array(values, np.float64)
        missing = ~np.isfinite(numbers)
        if missing.all():
            continue
        columns.append(np.where(missing, np.median(numbers[~missing]), numbers))
        if missing.any():
            columns.append(missing.astype(np.float64))
    varied = [column for column in columns if np.ptp(column) > 0]
    return (np.stack(varied, axis=1) if varied else np.zeros((len(known), 0))), keep_N


def dealt(names: Sequence[str], parts: int, random: np.random.Generator) -> dict[str, int]:
    """Which part each distinct name falls into: the largest first, each into the smallest part so far."""
    distinct, counts = np.unique(np.array(names), return_counts=True)
    order = random.permutation(len(distinct))
    order = order[np.argsort(-counts[order], kind="stable")]
    size = np.zeros(parts)
    out: dict[str, int] = {}
    for at in order:
        # ties by chance, so that another draw gives other folds
        part = int(np.argmin(size + random.random(parts) * 0.5))
        out[str(distinct[at])] = part
        size[part] += counts[at]
    return out


def folds(people: People, random: np.random.Generator, *, leave_makers: bool) -> list[tuple[Bools, Bools]]:
    """(learn, judge) pairs of (N,) masks by rule 2; with one maker only, by people alone."""
    synthetic_N = people.synthetic_N
    made = [maker for maker, synthetic in zip(people.maker_N, synthetic_N, strict=True) if synthetic]
    humans = len({person for person, synthetic in zip(people.person_N, synthetic_N, strict=True) if not synthetic})
    makers = len(set(made))
    by_maker = leave_makers and makers > 1
    parts = max(2, min(MOST_FOLDS, makers if by_maker else MOST_FOLDS, humans))
    # real people are dealt by themselves, so that every part has some; then whoever is in synthetic clips only
    real = [person for person, synthetic in zip(people.person_N, synthetic_N, strict=True) if not synthetic]
    others = sorted(set(people.person_N) - set(real))
    part_of_person = dealt(real, parts, random) | dealt(others, parts, random)
    part_of_maker = dealt(made, parts, random) if by_maker else {}
    part_N = np.array(
        [
            part_of_maker[maker] if by_maker and synthetic else part_of_person[person]
            for maker, person, synthetic in zip(people.maker_N, people.person_N, synthetic_N, strict=True)
        ]
    )
    out = []
    for part in range(parts):
        judge_N = part_N == part
        judged: list[int] = np.flatnonzero(judge_N).tolist()
        persons, sources = {people.person_N[i] for i in judged}, {people.source_N[i] for i in judged}
        met_N = np.array(
            [p in persons or s in sources for p, s in zip(people.person_N, people.source_N, strict=True)], bool
        )
        learn_N = ~judge_N & ~met_N
        if all(len(set(synthetic_N[mask].tolist())) == 2 for mask in (learn_N, judge_N)):
            out.append((learn_N, judge_N))
    return out


def held_out_scores(x_ND: Array, people: People, learn_N: Bools, judge_N: Bools) -> Array:
    """Scores of the clips to judge, by what was learned from the others."""
    mean, scale = x_ND[learn_N].mean(axis=0), x_ND[learn_N].std(axis=0)
    z_ND = np.clip((x_ND - mean) / np.where(scale > 1e-9, scale, 1.0), -5, 5)
    # the more statistics, the less each is believed
    model = LogisticRegression(C=min(1.0, 10.0 / max(1, x_ND.shape[1])), class_weight="balanced", max_iter=2000)
    model.fit(z_ND[learn_N], people.synthetic_N[learn_N], sample_weight=people.weights[learn_N])
    return np.asarray(model.decision_function(z_ND[judge_N]), np.float64)


def auc_within_folds(x_ND: Array, people: People, *, leave_makers: bool, seed: int = 0, draws: int = DRAWS) -> Measure:
    """The AUC by rules 2 and 3 with the interval of rule 4."""
    synthetic, real = np.flatnonzero(people.synthetic_N), np.flatnonzero(~people.synthetic_N)
    if min(len(synthetic), len(real)) < FEWEST:
        return Measure(nan, reason=f"{len(real)} real and {len(synthetic)} synthetic clips, {FEWEST} are needed")
    if not x_ND.shape[1]:
        return Measure(0.5, 0.5, 0.5)
    wins_SR = np.zeros((len(synthetic), len(real)))
    pairs_SR = np.zeros_like(wins_SR)
    for draw in range(DRAWS_OF_FOLDS):
        for learn_N, judge_N in folds(people, np.random.default_rng(seed + draw), leave_makers=leave_makers):
            score_N = np.full(len(people.synthetic_N), nan)
            score_N[judge_N] = held_out_scores(x_ND, people, learn_N, judge_N)
            s, r = np.flatnonzero(judge_N[synthetic]), np.flatnonzero(judge_N[real])
            above = score_N[synthetic[s]][:, None] - score_N[real[r]][None]
            wins_SR[np.ix_(s, r)] += (above > 0) + 0.5 * (above == 0)
            pairs_SR[np.ix_(s, r)] += 1
    if not pairs_SR.any():
        return Measure(nan, reason="too few people to leave some out")

    def auc(_: Bools, at_M: Array) -> float:
        count_N = np.bincount(at_M.astype(np.int64), minlength=len(people.synthetic_N)) * people.weights
        pairs = float(count_N[synthetic] @ pairs_SR @ count_N[real])
        return float(count_N[synthetic] @ wins_SR @ count_N[real]) / pairs if pairs > 0 else nan

    # the metric is handed positions: pairs across folds must not be compared, so it cannot work on scores alone
    position_N = np.arange(len(people.synthetic_N), dtype=np.float64)
    return measure(auc, people.synthetic_N, position_N, list(people.person_N), draws=draws)


def run_probe(rows: Sequence[Values | None], people: People, draws: int = DRAWS) -> ProbeFigures:
    """Both figures of one probe.

    Args:
        rows: the statistics of its nuisance, one a clip; None for a clip that has none.
        people: whose clips they are.
        draws: bootstrap resamples.
    """
    x_KD, keep_N = matrix(rows)
    kept = people.only(keep_N)
    return ProbeFigures(
        len(x_KD),
        auc_within_folds(x_KD, kept, leave_makers=True, draws=draws),
        auc_within_folds(x_KD, kept, leave_makers=False, draws=draws),
        strongest_of(rows, people.synthetic_N),
    )


def strongest_of(rows: Sequence[Values | None], synthetic_N: Bools) -> str:
    """Name and AUC of the statistic that alone tells the labels apart best, to find the cause; nothing is learned."""
    best, best_name = 0.5, ""
    names = dict.fromkeys(name for row in rows if row for name in row if not name.isdigit())
    for name in names:
        pairs = [(row[name], s) for row, s in zip(rows, synthetic_N.tolist(), strict=True) if row and name in row]
        words = sorted({value for value, _ in pairs if isinstance(value, str)})
        columns: dict[str, list[tuple[float, bool]]] = {
            f"{name} {word}": [(float(value == word), s) for value, s in pairs] for word in words
        } or {name: [(float(value), s) for value, s in pairs if np.isfinite(float(value))]}
        for what, column in columns.items():
            auc = roc_auc([s for _, s in column], [value for value, _ in column]) if column else nan
            if abs(auc - 0.5) > abs(best - 0.5) + 1e-9:
                best, best_name = auc, what
    return f"{best_name}: {best:.2f}" if best_name else ""
