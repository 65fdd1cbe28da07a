"""Certificates for tests: an authority of their own, and what it issues."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority"]

_PEM = serialization.Encoding.PEM
_LIFE = dt.timedelta(hours=1)


class Authority:
    """Issues certificates for an hour.

    Args:
        folder: its files go there; made if it is not there.

    Attributes:
        certificate: file with its own certificate, for those who are to trust it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("test bed")
        made = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(made.public_bytes(_PEM))

    def issue(self, name: str, address: str = "", *, expired: bool = False) -> tuple[Path, Path]:
        """Return the files of a certificate and of its key.

        Args:
            name: whose it is, and the files' name.
            address: IP address that a server has it for; empty for a client.
            expired: whether its time is over.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(name), key, ago=2 * _LIFE if expired else dt.timedelta())
        if address:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        cert_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        cert_file.write_bytes(made.public_bytes(_PEM))
        kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(_PEM, kind, plain))
        return cert_file, key_file

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, ago: dt.timedelta = dt.timedelta()
    ) -> x509.CertificateBuilder:
        begin = dt.datetime.now(dt.timezone.utc) - ago
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + _LIFE)
        )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
