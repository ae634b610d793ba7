from __future__ import annotations

from pathlib import Path

import pytest

from provenance.credential import ProvenanceError
from provenance.identity import create_identity, development_identity
from provenance.trust import DEVELOPMENT_URI, TrustAnchors, TrustList, identity_folder


def test_a_machine_without_an_identity_trusts_nobody() -> None:
    assert TrustAnchors.default().lists == ()


def test_the_development_authority_is_trusted_where_it_was_made() -> None:
    development_identity(notify=lambda line: None)
    assert [one.uri for one in TrustAnchors.default().lists] == [DEVELOPMENT_URI]


def test_a_bundle_gives_its_authorities_and_not_its_signers(tmp_path: Path) -> None:
    create_identity(tmp_path / "a")
    trust = TrustAnchors.default([tmp_path / "a/chain.pem", tmp_path / "a/root.pem"])
    assert [len(one.certificates()) for one in trust.lists] == [1, 1]
    assert len({one.uri for one in trust.lists}) == 2


def test_a_file_without_authorities_is_refused(tmp_path: Path) -> None:
    create_identity(tmp_path / "a")
    signer = (tmp_path / "a/chain.pem").read_text().split("-----END CERTIFICATE-----")[
        0
    ] + "-----END CERTIFICATE-----\n"
    (tmp_path / "signer.pem").write_text(signer)
    (tmp_path / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "empty.pem").write_text("")
    for name, words in (
        ("signer.pem", "no certificate authority"),
        ("garbage.pem", "not a PEM file"),
        ("empty.pem", "not a PEM file"),
        ("missing.pem", "cannot read"),
    ):
        with pytest.raises(ProvenanceError, match=words):
            TrustAnchors.default([tmp_path / name])


def test_lists_are_told_apart_by_purpose_and_name() -> None:
    pem = "-----BEGIN CERTIFICATE-----"
    trust = TrustAnchors((TrustList("signers", "urn:a", pem), TrustList("stamps", "urn:b", pem, "tsa")))
    assert trust.manifest_list("urn:a") == trust.lists[0]
    assert trust.manifest_list("urn:b") is None
    assert trust.manifest_list("system_anchors") is None
    assert trust.manifest_list(None) is None
    with pytest.raises(ValueError, match="share a URI"):
        TrustAnchors((trust.lists[0], trust.lists[0]))
    with pytest.raises(ValueError, match="purpose"):
        TrustList("a", "urn:a", pem, "cawg")
    with pytest.raises(ValueError, match="no certificate"):
        TrustList("a", "urn:a", "")


def test_the_configuration_folder_follows_the_xdg_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert identity_folder() == tmp_path / "countermark" / "identity"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert identity_folder() == Path.home() / ".config" / "countermark" / "identity"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert identity_folder() == Path.home() / ".config" / "countermark" / "identity"


def test_the_official_lists_load(data_pack: Path) -> None:
    folder = data_pack / "c2pa" / "trust"
    trust = TrustAnchors.default([folder / "C2PA-TRUST-LIST.pem"], time_stamps=[folder / "C2PA-TSA-TRUST-LIST.pem"])
    assert [len(one.certificates()) > 10 for one in trust.lists] == [True, True]
    distinct = [pem.count("BEGIN CERTIFICATE") for _, pem in trust.distinct()]
    assert distinct[0] == len(trust.lists[0].certificates())
    assert distinct[1] < len(trust.lists[1].certificates()), "the two official lists share authorities"


def test_an_authority_counts_for_the_first_list_that_has_it(tmp_path: Path) -> None:
    create_identity(tmp_path / "a")
    pem = (tmp_path / "a/root.pem").read_text()
    stamps, signers = TrustList("stamps", "urn:t", pem + pem, "tsa"), TrustList("signers", "urn:s", pem)
    assert TrustAnchors((stamps, signers)).distinct() == [(signers, pem)]
    assert TrustAnchors((stamps,)).distinct() == [(stamps, pem)]
