from __future__ import annotations

import csv
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import c2pa
import numpy as np
import pytest
from containers import flip

from provenance.claims import Claim, SourceType
from provenance.credential import (
    Action,
    Credential,
    CredentialIngredient,
    ProvenanceError,
    Standing,
    explain,
    read_credential,
    strict_settings,
    walk,
)
from provenance.identity import development_identity
from provenance.record import Record
from provenance.signing import sign_file
from provenance.trust import TrustAnchors

EXPECTED = {
    "valid": Standing.UNKNOWN_SIGNER,
    "tampered": Standing.BROKEN,
    "invalid": Standing.BROKEN,
    "none": Standing.ABSENT,
}
SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)


def rows(data_pack: Path) -> list[dict[str, str]]:
    with (data_pack / "c2pa" / "c2pa.csv").open() as file:
        return list(csv.DictReader(file))


def test_public_fixtures_get_their_standing_and_codes(data_pack: Path) -> None:
    wrong: list[object] = []
    for row in rows(data_pack):
        credential = read_credential(data_pack / "c2pa" / row["file"])
        if credential.standing is not EXPECTED[row["expected"]] or not credential.reasons:
            wrong.append((row["file"], credential.standing, credential.reasons))
        missing = set(row["reference_codes"].split()) - set(credential.validation_codes)
        if missing:
            wrong.append((row["file"], sorted(missing), credential.validation_codes))
    assert not wrong


def test_public_fixtures_are_unknown_under_the_official_list_too(data_pack: Path) -> None:
    trust = TrustAnchors.default(
        [data_pack / "c2pa" / "trust" / "C2PA-TRUST-LIST.pem"],
        time_stamps=[data_pack / "c2pa" / "trust" / "C2PA-TSA-TRUST-LIST.pem"],
    )
    for row in rows(data_pack):
        if row["signer_on_trust_list"] == "no":
            credential = read_credential(data_pack / "c2pa" / row["file"], trust=trust)
            assert credential.standing is EXPECTED[row["expected"]], row["file"]


@pytest.mark.parametrize("name", ["public-testfiles__adobe-20220124-CIE-sig-CA.jpg", "c2pa-rs__CACAE-uri-CA.jpg"])
def test_an_ingredient_recorded_as_broken_is_told(name: str, data_pack: Path) -> None:
    credential = read_credential(data_pack / "c2pa" / name)
    assert credential.standing is Standing.UNKNOWN_SIGNER
    assert any("was already broken when it was used" in reason for reason in credential.reasons)
    assert any(one.is_faulty for one in walk(credential.ingredients))


def test_a_credential_elsewhere_is_told_and_not_fetched(data_pack: Path) -> None:
    credential = read_credential(data_pack / "c2pa" / "c2pa-rs__cloud.jpg")
    assert credential.standing is Standing.ABSENT
    assert "https://cai-manifests.adobe.com" in credential.reasons[0]
    assert "not fetched" in credential.reasons[0]


def test_reading_never_uses_the_network(originals: dict[str, Path], tmp_path: Path) -> None:
    identity = development_identity(notify=lambda line: None)
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def listen() -> None:
            while not calls:
                try:
                    calls.append(server.accept())
                except OSError:
                    if done.is_set():
                        return

        done = threading.Event()
        listener = threading.Thread(target=listen)
        listener.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/stranger.c2pa"
        manifest = {"claim_generator_info": [{"name": "test", "version": "1"}], "assertions": []}
        settings = strict_settings(TrustAnchors.none())
        with (
            c2pa.Builder(json.dumps(manifest), c2pa.Context.from_dict(settings)) as builder,
            originals["clip.jpg"].open("rb") as source,
            (tmp_path / "remote.jpg").open("w+b") as target,
        ):
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
            builder.set_no_embed()
            builder.set_remote_url(address)
            information = c2pa.C2paSignerInfo(b"es256", identity.chain_pem.encode(), identity.key_pem, None)
            builder.sign(c2pa.Signer.from_info(information), "image/jpeg", source, target)
        credential = read_credential(tmp_path / "remote.jpg")
        time.sleep(0.1)
        done.set()
        listener.join()
    assert credential.standing is Standing.ABSENT
    assert address in credential.reasons[0]
    assert not calls


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is only text\n" * 20, "is not a picture, video or sound file"),
        ("zeros.mp4", bytes(5000), "is not a picture, video or sound file"),
    ],
)
def test_what_is_no_media_file_is_refused_in_one_line(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ProvenanceError, match=words) as caught:
        read_credential(path)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "missing.mp4", tmp_path, tmp_path / "pipe.mp4"):
        with pytest.raises(ProvenanceError, match=path.name):
            read_credential(path)


def test_a_container_that_cannot_carry_credentials_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(200))
    credential = read_credential(tmp_path / "a.mkv")
    assert credential.standing is Standing.ABSENT
    assert "Matroska" in credential.reasons[0]


def test_a_wrong_name_does_not_matter(originals: dict[str, Path], tmp_path: Path) -> None:
    sign_file(originals["clip.png"], tmp_path / "a.png", SYNTHETIC)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    credential = read_credential(tmp_path / "a.jpg")
    assert (credential.standing, credential.format) == (Standing.TRUSTED, "image/png")


def test_no_mutation_crashes_the_reader(signed: Callable[[str], Path], tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for ending in ("png", "jpg", "wav", "mp4"):
        content = signed(f"clip.{ending}").read_bytes()
        for _ in range(25):
            # Most of the damage goes into the credential, which lies near the beginning (at the end of a wav).
            near = random.integers(0, min(len(content), 12_000))
            mutated = flip(content, int(near) if ending != "wav" else len(content) - 1 - int(near))
            path = tmp_path / f"mutated.{ending}"
            path.write_bytes(mutated)
            try:
                credential = read_credential(path)
            except ProvenanceError:
                continue
            assert credential.reasons


def test_a_reading_survives_json(originals: dict[str, Path], tmp_path: Path) -> None:
    claim = Claim(source_type=SourceType.ALGORITHMIC_MEDIA, record=Record(seed=1, controls={"gaze": [1.5, -2]}))
    first = sign_file(originals["clip.png"], tmp_path / "a.png", claim)
    second = sign_file(tmp_path / "a.png", tmp_path / "b.png", claim)
    for credential in (first, second):
        assert Credential.from_json(json.loads(json.dumps(credential.to_json()))) == credential
    with pytest.raises(ValueError, match="not a reading"):
        Credential.from_json({"file": "a"})


def test_an_ingredient_is_faulty_only_beyond_an_unknown_signer() -> None:
    assert not CredentialIngredient("a", "inputTo", faults=("signingCredential.untrusted",)).is_faulty
    assert CredentialIngredient("a", "inputTo", faults=("claimSignature.mismatch",)).is_faulty


def test_every_code_gets_a_sentence() -> None:
    assert explain("assertion.bmffHash.mismatch") == "the video was changed after it was signed"
    assert "brand.new.code" in explain("brand.new.code")


def test_a_capture_counts_only_when_the_signer_stands_for_it() -> None:
    from provenance.chain import actions_of

    def manifest(kind: str, created: bool) -> dict[str, object]:
        uri = f"http://cv.iptc.org/newscodes/digitalsourcetype/{kind}"
        data = {"actions": [{"action": "c2pa.created", "digitalSourceType": uri}]}
        return {"claim_version": 2, "assertions": [{"label": "c2pa.actions.v2", "data": data, "created": created}]}

    assert actions_of(manifest("digitalCapture", True)) == (Action("c2pa.created", "digitalCapture"),)
    assert actions_of(manifest("digitalCapture", False)) == (Action("c2pa.created"),)
    assert actions_of(manifest("trainedAlgorithmicMedia", False)) == (
        Action("c2pa.created", "trainedAlgorithmicMedia"),
    )


def test_strangers_nonsense_in_a_report_is_survived() -> None:
    from provenance.judging import judge
    from provenance.reading import Findings

    loop = {"active_manifest": "a", "title": "x", "validation_results": {"activeManifest": {"failure": [3, {}]}}}
    report = {
        "active_manifest": "a",
        "manifests": {"a": {"ingredients": [loop, 7, None], "assertions": [{"label": 3}, {"label": "c2pa.actions"}]}},
        "validation_results": {"activeManifest": [], "ingredientDeltas": {"a": 1}},
        "validation_state": "Valid",
    }
    credential = judge(Path("a"), "0" * 64, "video/mp4", Findings(report=report), TrustAnchors.none())
    assert credential.standing is Standing.UNKNOWN_SIGNER
    assert len(list(walk(credential.ingredients))) < 40


@pytest.mark.parametrize("own", [{}, {"failure": []}, {"success": [{"code": "signingCredential.trusted"}]}])
def test_a_kept_manifest_whose_signature_nobody_checked_is_broken(
    own: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from provenance import credential as module
    from provenance.reading import Findings

    report = {"active_manifest": "a", "manifests": {"a": {}}, "validation_results": {"activeManifest": own}}
    monkeypatch.setattr(module, "find_manifests", lambda *words: Findings(report=report))
    assert module.read_manifest(b"manifest").standing is Standing.BROKEN
