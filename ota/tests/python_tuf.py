"""The other half of python_tuf.rs: reads what we wrote, and writes what we are to read, with python-tuf.

python_tuf.py read DIR    verifies DIR/{root,timestamp,snapshot,targets}.json, prints one line per file:
                          role, SHA-256 of the canonical form
python_tuf.py write DIR   writes the same four files, signed with an Ed25519, an ECDSA and an RSA key
"""
import datetime
import hashlib
import pathlib
import sys

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

ROLES = ["root", "timestamp", "snapshot", "targets"]


def read(folder):
    root = Metadata[Root].from_file(str(folder / "root.json"))
    for role in ROLES:
        metadata = Metadata.from_file(str(folder / f"{role}.json"))
        root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        for keyid, key in root.signed.keys.items():
            value = {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}
            assert hashlib.sha256(encode_canonical(value).encode()).hexdigest() == keyid
        print(role, hashlib.sha256(metadata.signed_bytes).hexdigest())


def write(folder):
    expires = datetime.datetime(2030, 3, 17, 18, 3, 20, tzinfo=datetime.timezone.utc)
    signers = [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()]
    root = Root(version=1, expires=expires, consistent_snapshot=True)
    for role in ROLES:
        for signer in signers:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = len(signers)
    target = TargetFile.from_data("brake.bin", b"image", ["sha256", "sha512"])
    targets = Targets(version=4, expires=expires, targets={target.path: target})
    targets.unrecognized_fields["x-note"] = 'quote " backslash \\ newline \n accent \u00e9 astral \U0001f600'
    bodies = {
        "root": root,
        "targets": targets,
        "snapshot": Snapshot(version=3, expires=expires, meta={"targets.json": MetaFile(4)}),
        "timestamp": Timestamp(version=2, expires=expires, snapshot_meta=MetaFile(3)),
    }
    for role, body in bodies.items():
        metadata = Metadata(body)
        for signer in signers:
            metadata.sign(signer, append=True)
        metadata.to_file(str(folder / f"{role}.json"))
        print(role, hashlib.sha256(metadata.signed_bytes).hexdigest())


{"read": read, "write": write}[sys.argv[1]](pathlib.Path(sys.argv[2]))
