"""A file lost its credentials: which original is it a copy of? START HERE for the reading side of durable credentials.

    found = find_credential(Path("from_a_platform.mp4"), CredentialStore.of_this_user())
    found.how            # "manifest", "watermark", "fingerprint" or None
    found.confidence     # one minus the chance that it is a wrong one
    found.credential     # of the original, with who signed it and whether we believe that
    found.difference     # how far this copy looks and sounds from the original, 0 to 1

All three ways are always gone, in this order of belief:

1. An intact manifest in the file itself binds every byte: it is the answer, whoever signed. A mark or print that leads
   to another credential is said beside it: somebody may have signed over a stranger's work.
2. The watermark names one credential of the store, by its 48 bits.
3. The fingerprint leads to the original that looks, moves and sounds the same (`provenance.likeness`).

A store may hold several credentials for one mark or one look: a clip was signed again, or a stranger signed a copy and
put that beside it. An entry whose signed manifest does not say what the entry says is passed over; then a trusted
signer comes before an unknown one, the more similar before the less, the one kept first before later ones. Signers who
claim the same with equal right share the confidence, and all of them are named.

What 2 and 3 recover is the credential of an ORIGINAL. It proves who made that, and how; that this copy is unaltered it
does not prove. Marks can be copied, and a face can be changed without the print noticing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from threadpoolctl import threadpool_limits

from provenance.credential import Credential, Standing, read_manifest
from provenance.errors import ProvenanceError
from provenance.guard import read_credential_guarded
from provenance.likeness import CLOSER_LOOKS, Likeness, compare, compare_mirrored, rank
from provenance.perceiving import Perceived, perceive
from provenance.store import CredentialStore, Entry
from provenance.store_index import StoreTable
from provenance.trust import TrustAnchors
from provenance.watermark import Heard, identifier_text

SCHEMA: Final = 1
MEANING: Final = (
    "a recovered credential tells who made the original, and how; it does not prove that this copy is unaltered"
)
_OTHER_SCENE, _OTHER_MOTION = 0.5, 0.2
"""Below these correlations a marked copy is not what its credential's original shows."""
_AS_LIKE: Final = 0.05
"""Difference of two entries, in that of likenesses, by which one is not more like a copy than the other."""
_MOST_OPENED: Final = 64
"""Manifests that are opened for one file."""
SUREST_PRINT, UNCLEAR_PRINT = 1e-3, 0.1
"""Chances below which no confidence in a fingerprint goes: with a motion as like as copies have it, and with one that
an altered copy, or another take made alike, would also have (`benchmarks.durable`)."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An entry that may be the original, and what its signed manifest says."""

    entry: Entry
    likeness: Likeness
    credential: Credential

    @property
    def order(self) -> tuple[int, int, str]:
        """What the likeliest has least of."""
        belief = {Standing.TRUSTED: 0, Standing.UNKNOWN_SIGNER: 1}.get(self.credential.standing, 2)
        return belief, int(self.likeness.difference / _AS_LIKE), self.entry.kept_utc

    @property
    def claimant(self) -> str:
        """Who says it. A name that no trust list vouches for can be anybody's: such claims are all different."""
        if self.credential.standing is Standing.TRUSTED and self.credential.signer:
            return self.credential.signer
        return f"{self.credential.signer or 'nobody'}, manifest {self.entry.manifest_sha256[:12]}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer of `provenance find`."""

    file: str
    how: str | None
    confidence: float | None
    credential: Credential | None
    """Of this file when `how` is "manifest", else of the original."""
    entry: Entry | None = None
    """The entry of the store that was recovered."""
    embedded: Credential
    """What the file itself carries."""
    heard: Heard | None = None
    likeness: Likeness | None = None
    """To the recovered original."""
    others: tuple[Candidate, ...] = ()
    """Other credentials of the store that claim the same mark, or look."""
    store: str
    entries: int
    reasons: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """How far this copy looks, moves and sounds from the recovered original: 0 the same, 1 nothing in common."""
        return None if self.likeness is None or self.entry is None else self.likeness.difference

    def to_json(self) -> dict[str, Any]:
        """The answer as plain JSON values; schema 1."""
        credential = self.credential.to_json() if self.credential is not None else None
        if credential is not None:
            credential["recovered"] = self.how != "manifest"
        if credential is not None and self.entry is not None:
            credential["identifier"] = identifier_text(self.entry.identifier)
            credential["kept_utc"] = self.entry.kept_utc
        return {
            "schema": SCHEMA,
            "file": self.file,
            "found": self.how is not None,
            "how": self.how,
            "confidence": self.confidence,
            "credential": credential,
            "difference": _rounded(self.difference),
            "embedded": {"standing": self.embedded.standing.value, "sha256": self.embedded.sha256},
            "watermark": _heard_json(self.heard),
            "fingerprint": _likeness_json(self.likeness),
            "store": {"folder": self.store, "entries": self.entries},
            "others": [_other_json(one) for one in self.others],
            "reasons": list(self.reasons),
            "meaning": MEANING if self.how in ("watermark", "fingerprint") else None,
        }


def find_credential(path: Path, store: CredentialStore, *, trust: TrustAnchors | None = None) -> Found:
    """Find the credential of a file, in it or in a store.

    Args:
        path: picture, video or sound.
        store: where credentials were kept; one that does not exist is empty.
        trust: whom to believe; None as for `read_credential`.

    Raises:
        ProvenanceError: when there is no such file, or it is no media file.
    """
    trust = TrustAnchors.default() if trust is None else trust
    embedded = read_credential_guarded(path, trust=trust)
    names = store.names()
    table = store.table()
    seen = perceive(path)
    said: list[str] = [seen.trouble] if seen.trouble else []
    if len(names) > len(table.names):
        said.append(f"{len(names) - len(table.names)} damaged entries of {store.folder} were passed over")
    # thousands of small products: threads cost more than they do, by far on a busy machine
    with threadpool_limits(1):
        heard = None if seen.reading is None else seen.reading.find(table.marked())
        marked, wrong = _opened(store, _by_watermark(seen, heard, store), trust)
        printed, more = _opened(store, _by_fingerprint(seen, store, table), trust)
    said += dict.fromkeys([*wrong, *more])
    holds = embedded.standing in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER)
    candidates = [] if holds else marked or printed
    facts: dict[str, Any] = {
        "file": str(path),
        "embedded": embedded,
        "heard": heard,
        "likeness": candidates[0].likeness if candidates else None,
        "others": tuple(candidates[1:]),
        "store": str(store.folder),
        "entries": len(table.names),
    }
    if holds:
        said += [*embedded.reasons, *_contradictions(embedded, heard, marked, printed)]
        return Found(how="manifest", confidence=1.0, credential=embedded, reasons=tuple(said), **facts)
    if embedded.standing is Standing.BROKEN:
        said.append("the credential in this file is broken; what is told here comes from the store")
    if not candidates:
        said += _why_nothing(seen, heard, len(table.names), store)
        return Found(how=None, confidence=None, credential=None, reasons=tuple(said), **facts)
    best = candidates[0]
    original = _original(best)
    how = "watermark" if marked else "fingerprint"
    if not marked and heard is not None:
        said.append(f"a mark in its pictures names another credential, {identifier_text(heard.identifier)}")
    said += [*_what_was_found(how, best), *_rivals(candidates)]
    return Found(
        how=how,
        confidence=_confidence(candidates, heard if marked else None, len(table.names)),
        credential=original,
        entry=best.entry,
        reasons=(*said, *original.reasons),
        **facts,
    )


def _by_watermark(seen: Perceived, heard: Heard | None, store: CredentialStore) -> list[tuple[Entry, Likeness]]:
    """The entries that the mark in the pictures names."""
    if heard is None:
        return []
    compared = compare_mirrored if heard.mirrored else compare
    return [(one, compared(seen.prints, one.prints)) for one in store.named(heard.identifier) if one.watermarked]


def _by_fingerprint(seen: Perceived, store: CredentialStore, table: StoreTable) -> list[tuple[Entry, Likeness]]:
    """The entries that are like the copy as chance, and another take, would not be: those most like it."""
    passing: list[tuple[Entry, Likeness]] = []
    for prints, compared in ((seen.prints, compare), (seen.prints.mirrored(), compare_mirrored)):
        # a sound has no left and right
        if not passing and (compared is compare or len(prints.look_SHW)):
            opened = [store.entry(name) for name in table.most_alike(prints, CLOSER_LOOKS)]
            found = [(one, compared(seen.prints, one.prints)) for one in opened if one is not None]
            passing = sorted((one for one in found if one[1].passes(len(table.names))), key=lambda one: rank(one[1]))
    return [one for one in passing if one[1].difference - passing[0][1].difference <= 2 * _AS_LIKE]


def _opened(
    store: CredentialStore, found: Sequence[tuple[Entry, Likeness]], trust: TrustAnchors
) -> tuple[list[Candidate], list[str]]:
    """The entries with their manifests, the likeliest first; and what was wrong with those that are passed over."""
    candidates, wrong = [], []
    # those kept first: a flood of later claims must not hide them
    for entry, likeness in sorted(found, key=lambda one: one[0].kept_utc)[:_MOST_OPENED]:
        try:
            credential = read_manifest(store.manifest_of(entry), trust=trust)
        except ProvenanceError as error:
            # one that was damaged in the store is broken, not absent
            credential = Credential(
                file=entry.file_name, sha256=entry.file_sha256, standing=Standing.BROKEN, reasons=(str(error),)
            )
        fault = entry.contradiction(credential) if credential.standing is not Standing.BROKEN else None
        if fault is not None:
            named = f"the entry {identifier_text(entry.identifier)} of {entry.file_name}"
            wrong.append(f"{named} was passed over, because it is not as it was signed: {fault}")
        else:
            candidates.append(Candidate(entry, likeness, credential))
    return sorted(candidates, key=lambda one: one.order), wrong


def _original(found: Candidate) -> Credential:
    """The credential of the recovered original."""
    # "unchanged" is said of files that were compared with their credential; this one's file is not here
    reasons = tuple(
        one.replace("unchanged since it was signed", "the original was signed") for one in found.credential.reasons
    )
    entry = found.entry
    return replace(
        found.credential, file=entry.file_name, sha256=entry.file_sha256, format=entry.format, reasons=reasons
    )


def _equals(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with the same right as the first, one for each claimant; the first is among them."""
    equal = [one for one in candidates if one.order[:2] == candidates[0].order[:2]]
    return list({one.claimant: one for one in reversed(equal)}.values())


def _confidence(candidates: Sequence[Candidate], heard: Heard | None, entries: int) -> float:
    """One minus the chance that the credential is the wrong one; shared by those who claim it with equal right."""
    likeness = candidates[0].likeness
    if heard is not None:
        sure = heard.confidence
    else:
        least = UNCLEAR_PRINT if likeness.is_unclear else SUREST_PRINT
        sure = 1.0 - min(1.0, max(likeness.false_chance * entries, least))
    return sure / len(_equals(candidates))


def _rivals(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Who else claims the same."""
    equal = _equals(candidates)
    if len(equal) > 1:
        yield (
            f"{len(equal)} signers claim it with equal right, and nothing here tells whose it is; this one was kept "
            "first in the store"
        )
    elif len({one.claimant for one in candidates}) > 1:
        yield "others claim it too, who are less trusted or whose original is less like it"


def _what_was_found(how: str, found: Candidate) -> Iterator[str]:
    entry, likeness, marked = found.entry, found.likeness, how == "watermark"
    named = identifier_text(entry.identifier)
    yield f"its {how} leads to the credential {named} of {entry.file_name}, kept {entry.kept_utc}"
    yield MEANING
    if not marked and likeness.is_unclear:
        yield "its motion is less like than that of most copies: it may be an altered copy, or another take made alike"
    if likeness.difference >= 1.0:
        yield "there are no prints to tell how far this copy differs from the original"
        return
    yield f"by its prints this copy differs from the original by {100 * likeness.difference:.0f} %"
    if likeness.is_mirrored:
        yield "it is mirrored: left and right are swapped"
    if likeness.starts_at >= 1.0:
        yield f"it begins {likeness.starts_at:.1f} s into the original"
    if likeness.sound is not None and likeness.sound < _OTHER_MOTION:
        yield "its sound is not that of the original"
    other = (likeness.look is not None and likeness.look < _OTHER_SCENE) or (
        likeness.motion is not None and likeness.motion < _OTHER_MOTION
    )
    if marked and other:
        yield "its pictures are not those of the original: the mark was copied onto them, or they were changed much"


def _contradictions(
    embedded: Credential, heard: Heard | None, marked: Sequence[Candidate], printed: Sequence[Candidate]
) -> Iterator[str]:
    """What mark and prints say that the manifest in the file does not."""
    own = {one.value for one in embedded.soft_bindings}
    # a trusted signer is not contradicted by what strangers put into a store
    believed = [
        one
        for one in marked
        if one.credential.standing is Standing.TRUSTED or embedded.standing is not Standing.TRUSTED
    ]
    rival = next((one for one in believed if not _is_succeeded(one, embedded)), None)
    if heard is not None and identifier_text(heard.identifier) not in own:
        where = f", that of {marked[0].entry.file_name}" if marked else ", which is not in this store"
        yield (
            f"its pictures carry the mark of another credential, {identifier_text(heard.identifier)}{where}: somebody "
            "may have signed over the work of another"
        )
    elif rival is not None:
        # naming the mark in one's own manifest is no proof of having made it
        yield (
            f"the mark that it claims is that of {rival.entry.file_name}, signed by {rival.claimant}, which this "
            "credential does not name as its parent: somebody may have signed over the work of another"
        )
    elif not marked and printed and not any(_is_succeeded(one, embedded) for one in printed):
        other = printed[0].entry
        yield f"it looks like {other.file_name}, which has another credential, {identifier_text(other.identifier)}"


def _is_succeeded(kept: Candidate, embedded: Credential) -> bool:
    """Whether a kept credential is that of the file itself, of the same trusted signer, or of the parent it names."""
    if kept.entry.file_sha256 == embedded.sha256:
        return True
    signer = kept.credential.signer
    if embedded.standing is Standing.TRUSTED and kept.credential.standing is Standing.TRUSTED:
        return signer is not None and signer == embedded.signer
    return any(one.relationship == "parentOf" and one.signer == signer for one in embedded.ingredients if signer)


def _why_nothing(seen: Perceived, heard: Heard | None, entries: int, store: CredentialStore) -> Iterator[str]:
    if heard is not None:
        yield (
            f"a mark in its pictures names the credential {identifier_text(heard.identifier)}, which is not kept in "
            f"{store.folder}; ask whoever made it, or give another --store"
        )
    elif not entries:
        yield f"no credential is kept in {store.folder}, and no mark is in the file; this says nothing about its origin"
    elif seen.trouble is None:
        yield "no credential, no mark, and nothing in the store that it is like; this says nothing about its origin"


def _heard_json(heard: Heard | None) -> dict[str, Any] | None:
    if heard is None:
        return None
    return {
        "identifier": identifier_text(heard.identifier),
        "in_store": heard.known,
        "confidence": heard.confidence,
        "agreement": _rounded(heard.agreement),
        "scale": _rounded(heard.scale),
        "mirrored": heard.mirrored,
    }


def _other_json(other: Candidate) -> dict[str, Any]:
    return {
        "identifier": identifier_text(other.entry.identifier),
        "file": other.entry.file_name,
        "signer": other.credential.signer,
        "standing": other.credential.standing.value,
        "difference": _rounded(other.likeness.difference),
        "kept_utc": other.entry.kept_utc,
    }


def _likeness_json(likeness: Likeness | None) -> dict[str, Any] | None:
    if likeness is None:
        return None
    return {
        "look": _rounded(likeness.look),
        "motion": _rounded(likeness.motion),
        "sound": _rounded(likeness.sound),
        "seconds_compared": likeness.seconds,
        "starts_at_seconds": likeness.starts_at,
        "mirrored": likeness.is_mirrored,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
