#!/usr/bin/env python3
"""Writes assets/descriptions.tsv.zz: what the API documentation says of every definition and field.

usage: scripts/descriptions.py [DIRECTORY]      (the sources of the crate k8s-openapi; found by cargo when left out)

The texts are Kubernetes' own, as the crate's documentation repeats them. Definitions are those of assets/schema.tsv.
Lines: `@definition <tab> text`, then `field <tab> text`; the whole is a zlib stream. src/api/openapi/description.rs
reads it.
"""

import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "assets"
VERSION = "v1_36"

# Fields of every object that the crate keeps in its traits.
OBJECT_FIELDS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
    "recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    "kind": "Kind is a string value representing the REST resource this object represents. Servers may infer this from "
    "the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
}


def crate_sources():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline"]
    packages = json.loads(subprocess.check_output(command, cwd=ROOT))["packages"]
    manifest = next(one["manifest_path"] for one in packages if one["name"] == "k8s-openapi")
    return Path(manifest).parent


def described(text):
    """Definition, its text, and the texts of its fields; None for files without one."""
    definition = re.search(r"^// Generated from definition (\S+)$", text, re.M)
    if not definition:
        return None
    names = dict((rust, name) for name, rust in re.findall(r'"([^"]+)" => Field::Key_(\w+),', text))
    whole, fields, comment = "", {}, []
    in_struct = False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("///"):
            comment.append(stripped[3:].strip())
            continue
        if not in_struct and stripped.startswith("pub struct"):
            whole, in_struct = " ".join(comment), True
        elif in_struct and (field := re.match(r"pub (?:r#)?(\w+):", stripped)):
            if comment and field[1] in names:
                fields[names[field[1]]] = " ".join(comment)
        elif in_struct and line == "}":
            break
        if not stripped.startswith("#["):
            comment = []
    return definition[1], whole, fields


def main():
    crate = Path(sys.argv[1]) if len(sys.argv) > 1 else crate_sources()
    known, order = {}, []
    for line in (ASSETS / "schema.tsv").read_text().splitlines():
        if line.startswith("@"):
            order.append(line[1:].split("\t")[0])
            known[order[-1]] = []
        elif order:
            known[order[-1]].append(line.split("\t")[0])
    texts = {}
    for path in sorted((crate / "src" / VERSION).rglob("*.rs")):
        if found := described(path.read_text()):
            texts[found[0]] = found[1:]
    lines = []
    for name in order:
        whole, fields = texts.get(name, ("", {}))
        lines.append(f"@{name}\t{clean(whole)}")
        for field in known[name]:
            text = fields.get(field) or (OBJECT_FIELDS.get(field) if "metadata" in known[name] else "")
            if text:
                lines.append(f"{field}\t{clean(text)}")
    raw = ("\n".join(lines) + "\n").encode()
    packed = zlib.compress(raw, 9)
    (ASSETS / "descriptions.tsv.zz").write_bytes(packed)
    print(f"{len(order)} definitions, {len(lines) - len(order)} fields: {len(raw)} bytes, {len(packed)} packed")


def clean(text):
    return re.sub(r"\s+", " ", text).strip()


main()
