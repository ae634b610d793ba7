from __future__ import annotations

import multiprocessing
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from provenance.checkup import check_up
from provenance.credential import ProvenanceError
from provenance.identity import (
    SigningIdentity,
    algorithm_of,
    create_identity,
    development_identity,
    renew,
)
from provenance.trust import (
    DEVELOPMENT_MARK,
    EXTENDED_KEY_USAGES,
    TrustAnchors,
    TrustList,
    identity_folder,
    judge_chain,
)


def silent(line: str) -> None:
    """Nobody needs to know."""


def own_root(folder: Path) -> TrustAnchors:
    return TrustAnchors((TrustList("own", "urn:own", (folder / "root.pem").read_text()),))


def test_the_first_use_makes_an_identity_and_says_so_once() -> None:
    lines: list[str] = []
    first = development_identity(notify=lines.append)
    second = development_identity(notify=lines.append)
    assert first == second
    assert len(lines) == 1
    assert str(identity_folder()) in lines[0]


def test_without_a_listener_the_line_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    development_identity()
    assert "made a development signing identity" in caplog.text


def test_keys_are_for_their_owner_only() -> None:
    development_identity(notify=silent)
    folder = identity_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = list(folder.glob("*.key"))
    assert len(keys) == 2
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)


def test_the_chain_is_what_readers_ask_for() -> None:
    identity = development_identity(notify=silent)
    leaf, issuer = identity.certificates()
    assert identity.is_development
    for certificate in (leaf, issuer):
        assert DEVELOPMENT_MARK in certificate.subject.rfc4514_string()
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [one.dotted_string for one in usages] == ["1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.4"]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=366)
    assert judge_chain([leaf, issuer], own_root(identity_folder())).vouched_by is not None


def test_no_private_key_of_the_root_is_kept() -> None:
    development_identity(notify=silent)
    root = x509.load_pem_x509_certificate((identity_folder() / "root.pem").read_bytes())
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for path in identity_folder().glob("*.key"):
        assert load_pem_private_key(path.read_bytes(), None).public_key() != root.public_key()


def _first_use(start: object, results: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    lines: list[str] = []
    identity = development_identity(notify=lines.append)
    results.put((identity.chain_pem, identity.key_pem, len(lines)))  # type: ignore[attr-defined]


def test_processes_that_start_at_once_share_one_identity() -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(6), context.Queue()
    workers = [context.Process(target=_first_use, args=(start, results)) for _ in range(6)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert len({(chain, key) for chain, key, _ in answers}) == 1
    assert sum(lines for _, _, lines in answers) == 1
    assert [path.name for path in identity_folder().parent.iterdir()] == [identity_folder().name]


def test_a_signer_about_to_expire_is_renewed_with_the_same_key() -> None:
    before = development_identity(notify=silent)
    folder = identity_folder()
    renew(folder, days=20)
    lines: list[str] = []
    after = development_identity(notify=lines.append)
    assert after.key_pem == before.key_pem
    assert after.certificates()[0].not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert len(lines) == 1
    assert "renewed" in lines[0]
    assert judge_chain(after.certificates(), own_root(folder)).vouched_by is not None


def test_keygen_never_overwrites(tmp_path: Path) -> None:
    create_identity(tmp_path / "new")
    with pytest.raises(ProvenanceError, match="never overwritten"):
        create_identity(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    create_identity(tmp_path / "empty")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ProvenanceError, match="cannot make a signing identity"):
        development_identity(tmp_path / "file" / "identity")


def test_own_files_make_an_identity_and_wrong_ones_are_named(tmp_path: Path) -> None:
    create_identity(tmp_path / "a")
    create_identity(tmp_path / "b")
    chain = tmp_path / "bundle.pem"
    chain.write_text((tmp_path / "a/chain.pem").read_text() + (tmp_path / "a/root.pem").read_text())
    identity = SigningIdentity.from_files(chain, tmp_path / "a/signer.key")
    assert len(identity.certificates()) == 2, "a root in the bundle is left out"
    for files, words in (
        ((tmp_path / "a/chain.pem", tmp_path / "b/signer.key"), "does not belong"),
        ((tmp_path / "a/signer.key", tmp_path / "a/signer.key"), "no PEM certificate"),
        ((tmp_path / "a/chain.pem", tmp_path / "a/root.pem"), "not a PEM private key"),
        ((tmp_path / "gone.pem", tmp_path / "a/signer.key"), "cannot read"),
    ):
        with pytest.raises(ProvenanceError, match=words):
            SigningIdentity.from_files(*files)


def test_each_kind_of_key_has_its_algorithm() -> None:
    assert algorithm_of(ec.generate_private_key(ec.SECP256R1()).public_key()) == "es256"
    assert algorithm_of(ec.generate_private_key(ec.SECP384R1()).public_key()) == "es384"
    assert algorithm_of(ec.generate_private_key(ec.SECP521R1()).public_key()) == "es512"
    assert algorithm_of(ed25519.Ed25519PrivateKey.generate().public_key()) == "ed25519"
    assert algorithm_of(rsa.generate_private_key(65537, 2048).public_key()) == "ps256"
    with pytest.raises(ProvenanceError, match="secp256k1"):
        algorithm_of(ec.generate_private_key(ec.SECP256K1()).public_key())


def test_an_identity_refuses_nonsense(tmp_path: Path) -> None:
    chain = create_identity(tmp_path / "a").chain_pem
    with pytest.raises(ValueError, match="either a key or"):
        SigningIdentity(chain, "es256")
    with pytest.raises(ValueError, match="algorithm"):
        SigningIdentity.from_callback(lambda message: b"", chain_pem=chain, algorithm="rot13")
    with pytest.raises(ValueError, match="PEM"):
        SigningIdentity.from_callback(lambda message: b"", chain_pem="hello")
    with pytest.raises(ValueError, match="http"):
        SigningIdentity.from_callback(lambda message: b"", chain_pem=chain, time_stamp_url="ftp://tsa")


def test_a_key_does_not_show_in_the_text_of_an_identity(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(create_identity(tmp_path / "a"))


def test_a_chain_is_judged_by_every_link(tmp_path: Path) -> None:
    create_identity(tmp_path / "a")
    create_identity(tmp_path / "b")
    leaf, issuer = x509.load_pem_x509_certificates((tmp_path / "a/chain.pem").read_bytes())
    _, foreign = x509.load_pem_x509_certificates((tmp_path / "b/chain.pem").read_bytes())
    ours, none = own_root(tmp_path / "a"), TrustAnchors.none()
    late = datetime.now(UTC) + timedelta(days=400)
    stamps = TrustAnchors((TrustList("t", "urn:t", (tmp_path / "a/root.pem").read_text(), "tsa"),))
    assert judge_chain([leaf, issuer], ours).vouched_by == ours.lists[0]
    assert judge_chain([leaf, issuer], none).vouched_by is None
    assert judge_chain([leaf, issuer], stamps).vouched_by is None
    assert judge_chain([leaf], ours).vouched_by is None, "the issuing CA is missing"
    assert judge_chain([leaf, foreign], ours).fault == "signingCredential.invalid"
    assert judge_chain([issuer], ours).fault == "signingCredential.invalid", "an authority is no signer"
    assert judge_chain([leaf, issuer], ours, now=late).fault == "signingCredential.expired"


def own_authority(*limits: tuple[x509.ExtensionType, bool]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority with a key of its own, and with these extensions, critical or not."""
    key = ec.generate_private_key(ec.SECP256R1())
    return certified("Authority", key, key, x509.BasicConstraints(ca=True, path_length=None), *limits), key


def certified(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    basic: x509.BasicConstraints,
    *limits: tuple[x509.ExtensionType, bool],
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(basic, critical=True)
    )
    for extension, critical in limits:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(by, hashes.SHA256())


ANYBODY = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
NEWS_ONLY = x509.NameConstraints([x509.DNSName("news.example")], None)


@pytest.mark.parametrize(
    ("of_authority", "of_signer", "is_believed"),
    [
        ([], [], True),
        ([(ANYBODY, False)], [(ANYBODY, False)], True),
        ([(ANYBODY, True)], [], False),
        ([(NEWS_ONLY, True)], [], False),
        ([(NEWS_ONLY, False)], [], False),
        ([], [(ANYBODY, True)], False),
    ],
)
def test_limits_that_are_not_judged_are_not_passed_over(
    of_authority: list[tuple[x509.ExtensionType, bool]],
    of_signer: list[tuple[x509.ExtensionType, bool]],
    is_believed: bool,
) -> None:
    root, root_key = own_authority(*of_authority)
    usages: list[tuple[x509.ExtensionType, bool]] = [
        (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier(EXTENDED_KEY_USAGES[0])]), False),
    ]
    own = ec.generate_private_key(ec.SECP256R1())
    leaf = certified("Anna", own, root_key, x509.BasicConstraints(ca=False, path_length=None), *usages, *of_signer)
    trust = TrustAnchors((TrustList("t", "urn:t", root.public_bytes(Encoding.PEM).decode()),))
    verdict = judge_chain([leaf], trust)
    assert (verdict.vouched_by is not None) is is_believed
    assert (verdict.fault is not None) is bool(of_signer and not is_believed)


def test_the_doctor_finds_nothing_wrong_with_a_fresh_identity() -> None:
    development_identity(notify=silent)
    assert {check.result for check in check_up()} == {"ok"}


def test_the_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    [_, none] = check_up()
    assert (none.result, none.advice) == ("warning", "nothing to do: the first signing makes one; or run keygen")
    development_identity(notify=silent)
    folder = identity_folder()
    (folder / "signer.key").chmod(0o644)
    assert [check.advice for check in check_up() if check.result == "fault"] == [f"chmod 600 {folder / 'signer.key'}"]
    renew(folder, days=1)
    assert "the next signing renews it" in [check.advice for check in check_up()]
    create_identity(tmp_path / "other")
    (folder / "root.pem").write_bytes((tmp_path / "other/root.pem").read_bytes())
    assert any("does not lead to" in check.finding for check in check_up())
    (folder / "signer.key").write_text("garbage")
    assert any("not a PEM private key" in check.finding for check in check_up())
