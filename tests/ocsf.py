"""Holds lines of alerts against the schema of OCSF 1.7 as `ocsf-json-schema` has it: nothing of it is this repository's.

Called by `cargo xtask prove receivers` with a file of lines; prints what it looked at, and ends with 1 if a line is wrong.
"""

import collections
import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.7.0"
SHOWN = 20


def main(file: str) -> int:
    ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    validators = {}
    seen = collections.Counter()
    wrong = collections.Counter()
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            alert = json.loads(line)
            metadata = alert["metadata"]
            if metadata["version"] != VERSION:
                wrong[f"version {metadata['version']}"] += 1
                continue
            kind = (alert["class_uid"], tuple(metadata["profiles"]))
            if kind not in validators:
                name = ocsf.lookup_class_name_from_uid(class_uid=kind[0])
                schema = ocsf.get_class_schema(class_name=name, profiles=list(kind[1]))
                validators[kind] = jsonschema.Draft202012Validator(schema)
            seen[kind[0]] += 1
            for error in validators[kind].iter_errors(alert):
                where = "/".join(str(part) for part in error.absolute_path)
                wrong[f"class {kind[0]}, {where or 'the whole'}: {error.message[:200]}"] += 1
    for what, count in wrong.most_common(SHOWN):
        print(f"wrong {count} times: {what}")
    for uid, count in sorted(seen.items()):
        print(f"proven: lines of class {uid} that are OCSF {VERSION} by ocsf-json-schema: {count}")
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
