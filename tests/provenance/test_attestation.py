from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provenance.attestation import STATEMENT_FILE, merkle_root
from provenance.credential import ProvenanceError, Standing
from provenance.envelope import signed_envelope
from provenance.identity import SigningIdentity, development_identity
from provenance.record import Record
from provenance.signing import sign_catalog, verify_catalog
from provenance.trust import TrustAnchors


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five clips, a catalog, a card, and work in progress that is not part of it."""
    folder = tmp_path / "dataset"
    (folder / "clips").mkdir(parents=True)
    lines = []
    for number in range(5):
        content = bytes([number]) * 1000
        (folder / f"clips/{number}.mp4").write_bytes(content)
        sample = {"id": f"c{number}", "path": f"clips/{number}.mp4", "sha256": hashlib.sha256(content).hexdigest()}
        lines.append(json.dumps(sample))
    (folder / "catalog.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "README.md").write_text("A dataset.")
    (folder / ".lock").write_text("work in progress")
    return folder


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def test_the_merkle_root_is_the_one_of_rfc_6962() -> None:
    digests = {name: sha(name.encode()).hex() for name in ("c", "a", "b")}
    a, b, c = (sha(b"\x00" + name.encode() + b"\x00" + sha(name.encode())) for name in ("a", "b", "c"))
    assert merkle_root({}) == sha(b"").hex()
    assert merkle_root({"a": digests["a"]}) == a.hex()
    assert merkle_root(digests) == sha(b"\x01" + sha(b"\x01" + a + b) + c).hex()


def test_renaming_or_moving_content_changes_the_root() -> None:
    one, two = sha(b"1").hex(), sha(b"2").hex()
    assert (
        len({merkle_root(files) for files in ({"a": one, "b": two}, {"a": two, "b": one}, {"a": one, "c": two})}) == 3
    )


def test_an_untouched_dataset_is_trusted(dataset: Path) -> None:
    record = Record(tool="countermark forge", recipe="tiny")
    report = sign_catalog(dataset, record=record)
    assert (report.standing, report.files) == (Standing.TRUSTED, 7)
    assert verify_catalog(dataset) == report
    assert report.record == record
    assert "development identity of this machine" in report.reasons[1]
    assert not [path for path in dataset.iterdir() if path.name.endswith(".part")]


def test_an_unsigned_dataset_is_absent(dataset: Path) -> None:
    assert verify_catalog(dataset).standing is Standing.ABSENT


@pytest.mark.parametrize(
    ("attack", "first", "kind"),
    [
        (lambda d: (d / "clips/3.mp4").write_bytes(b"\x03" * 999 + b"\x04"), "clips/3.mp4", "changed"),
        (lambda d: (d / "clips/1.mp4").unlink(), "clips/1.mp4", "missing"),
        (lambda d: (d / "clips/9.mp4").write_bytes(b"new"), "clips/9.mp4", "extra"),
        (lambda d: (d / "README.md").write_text("Another dataset."), "README.md", "changed"),
        (lambda d: (d / "clips/0.mp4").rename(d / "clips/z.mp4"), "clips/0.mp4", "missing"),
    ],
)
def test_the_first_file_that_differs_is_named(
    attack: Callable[[Path], object], first: str, kind: str, dataset: Path
) -> None:
    sign_catalog(dataset)
    attack(dataset)
    report = verify_catalog(dataset)
    assert report.standing is Standing.BROKEN
    assert (report.differences[0].path, report.differences[0].kind) == (first, kind)
    assert f"dataset.file.{kind}" in report.validation_codes
    assert first in report.reasons[0]


def test_a_changed_label_is_found_by_its_line(dataset: Path) -> None:
    sign_catalog(dataset)
    catalog = dataset / "catalog.jsonl"
    catalog.write_text(catalog.read_text().replace('"c2"', '"cX"'))
    assert str(verify_catalog(dataset).differences[0]) == "catalog.jsonl changed (line 3)"
    catalog.write_text("\n".join(catalog.read_text().replace('"cX"', '"c2"').splitlines()[:4]) + "\n")
    assert str(verify_catalog(dataset).differences[0]) == "catalog.jsonl changed (4 lines instead of 5)"


def test_a_stranger_can_sign_but_is_not_trusted(dataset: Path, stranger: SigningIdentity) -> None:
    sign_catalog(dataset, identity=stranger)
    report = verify_catalog(dataset)
    assert (report.standing, report.validation_codes) == (Standing.UNKNOWN_SIGNER, ("signingCredential.untrusted",))


def put_statement(dataset: Path, payload: object) -> None:
    """Sign anything as the statement of a dataset."""
    envelope = signed_envelope(json.dumps(payload).encode(), development_identity())
    (dataset / STATEMENT_FILE).write_bytes(envelope)


def envelope_of(dataset: Path) -> dict[str, object]:
    content = json.loads((dataset / STATEMENT_FILE).read_text())
    assert isinstance(content, dict)
    return content


def test_an_edited_statement_is_broken(dataset: Path) -> None:
    sign_catalog(dataset)
    envelope = envelope_of(dataset)
    payload = base64.b64decode(str(envelope["payload"]))
    envelope["payload"] = base64.b64encode(payload.replace(b"clips/3.mp4", b"clips/8.mp4")).decode()
    (dataset / "clips/3.mp4").rename(dataset / "clips/8.mp4")
    (dataset / STATEMENT_FILE).write_text(json.dumps(envelope))
    report = verify_catalog(dataset)
    assert (report.standing, report.validation_codes) == (Standing.BROKEN, ("claimSignature.mismatch",))


def test_a_root_that_is_not_that_of_the_files_is_broken(dataset: Path) -> None:
    sign_catalog(dataset)
    payload = json.loads(base64.b64decode(str(envelope_of(dataset)["payload"])))
    payload["subject"][0]["digest"]["sha256"] = "0" * 64
    put_statement(dataset, payload)
    assert verify_catalog(dataset).validation_codes == ("dataset.merkle.mismatch",)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", '{"payloadType": "application/vnd.in-toto+json"}', "{" * 5000, '{"payload": "%%%"}'],
)
def test_a_damaged_statement_is_broken(content: str, dataset: Path) -> None:
    (dataset / STATEMENT_FILE).write_text(content)
    report = verify_catalog(dataset)
    assert (report.standing, report.validation_codes) == (Standing.BROKEN, ("general.error",))


def test_a_statement_that_reaches_out_of_the_folder_is_broken(dataset: Path) -> None:
    sign_catalog(dataset)
    payload = json.loads(base64.b64decode(str(envelope_of(dataset)["payload"])))
    payload["predicate"]["files"][0]["name"] = "../../etc/passwd"
    put_statement(dataset, payload)
    assert verify_catalog(dataset).validation_codes == ("general.error",)


def test_an_expired_signer_is_broken(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    from provenance import attestation, trust

    sign_catalog(dataset)
    late = datetime.now(UTC) + timedelta(days=400)
    monkeypatch.setattr(attestation, "judge_chain", lambda chain, anchors: trust.judge_chain(chain, anchors, now=late))
    assert verify_catalog(dataset).validation_codes == ("signingCredential.expired",)


def test_a_catalog_that_does_not_fit_its_files_is_not_signed(dataset: Path, tmp_path: Path) -> None:
    catalog = dataset / "catalog.jsonl"
    good = catalog.read_text()
    for bad, words in (
        (good.replace("clips/2.mp4", "clips/7.mp4"), "line 3 names clips/7.mp4"),
        (good.replace("clips/2.mp4", "../2.mp4"), r"line 3 names \.\./2\.mp4"),
        (good + '{"id": "x"}\n', "line 6 is not a sample"),
        (good + "not json\n", "line 6 is not a sample"),
    ):
        catalog.write_text(bad)
        with pytest.raises(ProvenanceError, match=words):
            sign_catalog(dataset)
    catalog.write_text(good)
    (dataset / "clips/4.mp4").write_bytes(b"changed")
    with pytest.raises(ProvenanceError, match=r"clips/4\.mp4 has another SHA-256"):
        sign_catalog(dataset)
    assert not (dataset / STATEMENT_FILE).exists()
    (dataset / "clips/4.mp4").unlink()
    (dataset / "clips/4.mp4").symlink_to(tmp_path)
    with pytest.raises(ProvenanceError, match="leads out of the dataset"):
        sign_catalog(dataset)


def test_a_strangers_links_and_pipes_neither_stop_nor_crash_the_reader(dataset: Path) -> None:
    sign_catalog(dataset)
    (dataset / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(ProvenanceError, match=r"loop\.mp4 is a link that leads out"):
        verify_catalog(dataset)
    (dataset / "loop.mp4").unlink()
    (dataset / STATEMENT_FILE).unlink()
    os.mkfifo(dataset / STATEMENT_FILE)
    assert verify_catalog(dataset).standing is Standing.ABSENT


def test_files_behind_a_link_to_a_hidden_folder_are_not_part_of_a_signed_dataset(dataset: Path) -> None:
    sign_catalog(dataset)
    (dataset / ".hidden").mkdir()
    (dataset / ".hidden" / "forged.mp4").write_bytes(b"nobody signed this")
    (dataset / "more").symlink_to(".hidden")
    with pytest.raises(ProvenanceError, match="more is a link to a folder"):
        verify_catalog(dataset)


def test_a_new_statement_that_does_not_hold_leaves_the_old_one(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    from provenance import attestation, trust

    sign_catalog(dataset)
    before = (dataset / STATEMENT_FILE).read_bytes()
    late = datetime.now(UTC) + timedelta(days=400)
    with monkeypatch.context() as patch:
        patch.setattr(attestation, "judge_chain", lambda chain, anchors: trust.judge_chain(chain, anchors, now=late))
        with pytest.raises(ProvenanceError, match="was not signed"):
            sign_catalog(dataset)
    assert (dataset / STATEMENT_FILE).read_bytes() == before
    assert verify_catalog(dataset).standing is Standing.TRUSTED


def test_a_bottomless_line_of_a_catalog_is_refused_in_one_line(dataset: Path) -> None:
    with (dataset / "catalog.jsonl").open("a") as catalog:
        catalog.write("[" * 200_000 + "\n")
    with pytest.raises(ProvenanceError, match="line 6 is not a sample"):
        sign_catalog(dataset)


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match="is not a folder"):
        verify_catalog(tmp_path / "missing")
    with pytest.raises(ProvenanceError, match=r"has no catalog\.jsonl"):
        sign_catalog(tmp_path)


def test_a_callback_signs_datasets_too(dataset: Path) -> None:
    from provenance.signatures import sign_bytes

    own = development_identity()
    identity = SigningIdentity.from_callback(lambda message: sign_bytes(own, message), chain_pem=own.chain_pem)
    assert sign_catalog(dataset, identity=identity).standing is Standing.TRUSTED
    assert verify_catalog(dataset, trust=TrustAnchors.none()).standing is Standing.UNKNOWN_SIGNER


@pytest.mark.parametrize("kind", ["ed25519", "ps256", "es384"])
def test_other_kinds_of_keys_sign_datasets(kind: str, dataset: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    from provenance.signatures import _sign_with_key, signature_holds

    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "ps256":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP384R1())
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    identity = SigningIdentity(development_identity().chain_pem, kind, key_pem=pem)
    signature = _sign_with_key(identity, b"message")
    assert signature_holds(key.public_key(), signature, b"message")
    assert not signature_holds(key.public_key(), signature, b"massage")
    assert not signature_holds(key.public_key(), b"", b"message")


def test_splits_are_signed_with_a_root_of_their_own(dataset: Path) -> None:
    catalog = dataset / "catalog.jsonl"
    lines = [json.loads(line) for line in catalog.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["split"] = "train" if number < 3 else "test"
    catalog.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    report = sign_catalog(dataset)
    assert {name: one.samples for name, one in report.splits.items()} == {"test": 2, "train": 3}
    digests = {line["path"]: line["sha256"] for line in lines[3:]}
    assert report.splits["test"].merkle_root == merkle_root(digests)
    assert verify_catalog(dataset) == report


def test_splits_that_are_not_those_of_the_catalog_are_broken(dataset: Path) -> None:
    sign_catalog(dataset)
    payload = json.loads(base64.b64decode(str(envelope_of(dataset)["payload"])))
    payload["predicate"]["splits"] = {"train": {"samples": 9, "merkle_root": "0" * 64}}
    put_statement(dataset, payload)
    assert verify_catalog(dataset).validation_codes == ("dataset.splits.mismatch",)


@pytest.mark.parametrize(
    "payload",
    [
        [],
        {},
        {"subject": [{}]},
        {"predicate": {"files": [{}]}},
        {"predicate": {"files": 7}},
        {"predicate": {"splits": {"a": {}}}},
        {"predicate": {"splits": {"a": {"samples": float("inf"), "merkle_root": ""}}}},
        {"predicate": {"files": [{"name": "clips/\ud800.mp4", "digest": {"sha256": "0" * 64}}]}},
    ],
)
def test_a_signed_statement_with_parts_missing_is_broken_and_no_crash(dataset: Path, payload: object) -> None:
    sign_catalog(dataset)
    facts = json.loads(base64.b64decode(str(envelope_of(dataset)["payload"])))
    if isinstance(payload, dict):
        predicate = {**facts["predicate"], **payload.get("predicate", {})}
        payload = {**facts, **payload, "predicate": predicate} if payload else payload
    put_statement(dataset, payload)
    assert verify_catalog(dataset).validation_codes == ("general.error",)


def test_the_reference_libraries_read_and_verify_the_statement(dataset: Path) -> None:
    statement = pytest.importorskip("in_toto_attestation.v1.statement")
    messages = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    from cryptography import x509
    from google.protobuf.json_format import ParseDict

    sign_catalog(dataset)
    envelope = envelope_of(dataset)
    payload = json.loads(base64.b64decode(str(envelope["payload"])))
    statement.Statement.copy_from_pb(ParseDict(payload, messages.Statement())).validate()
    (signature,) = json.loads((dataset / STATEMENT_FILE).read_text())["signatures"]
    public = signer.SSlibKey.from_crypto(
        x509.load_pem_x509_certificate(signature["certificates"][0].encode()).public_key(), keyid=signature["keyid"]
    )
    assert dsse.Envelope.from_dict(envelope).verify([public], 1)
