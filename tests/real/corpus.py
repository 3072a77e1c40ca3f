"""Whom Python's two header readers find in the messages of tests/corpus that go out through Microsoft Graph: nobody beyond
the envelope, and where no blind copy is added, everybody in it."""

import email
import email.policy
import email.utils
import pathlib
import sys

FIELDS = ("to", "cc", "bcc")


def fold(address):
    local, _, domain = address.rpartition("@")
    return f"{local.strip(chr(34))}@{domain}".lower() if local and domain else None


def by_getaddresses(content):
    message = email.message_from_bytes(content)
    values = [str(value) for name in FIELDS for value in message.get_all(name) or []]
    values = [value.replace("\r", "").replace("\n", "") for value in values]
    return {fold(address) for _, address in email.utils.getaddresses(values)} - {None}


def by_policy(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    fields = [field for name in FIELDS for field in message.get_all(name) or []]
    return {fold(address.addr_spec) for field in fields for address in field.addresses} - {None}


def main(folder):
    folder = pathlib.Path(folder)
    read, wrong = 0, []
    for line in (folder / "manifest.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        file, verdict, envelope, _, _ = line.split("\t")
        # Python cannot read domains in UTF-8.
        if verdict.startswith("refused") or not envelope.isascii():
            continue
        addressed = {fold(address) for address in envelope.split(" | ")}
        content = (folder / ("changed" if verdict == "changed" else "messages") / file).read_bytes()
        for reader in (by_getaddresses, by_policy):
            found = reader(content)
            # Newer versions of `getaddresses` give up on a list that they find odd.
            complete = reader is by_policy and verdict in ("identical", "changed")
            if found - addressed or (complete and found != addressed):
                wrong.append(f"{file}: {reader.__name__} finds {sorted(found ^ addressed)[:3]} otherwise")
        read += 1
    print(read, "messages")
    sys.exit("\n".join(wrong) or (0 if read > 150 else "too few messages"))


main(sys.argv[1])
