"""Stands in for the Azure CLI where a test runs the script of `gatepost setup`: `az rest` against the Graph
of the embedded Microsoft 365. GRAPH is its address, TOKEN the administrator's token, CA its authority, LATE a
file that lets one change fail."""

import argparse
import json
import os
import ssl
import sys
import urllib.error
import urllib.request

import jmespath


def shown(value, output):
    """As az prints a result: tsv has a line for each value, and none for null."""
    if output == "json":
        return json.dumps(value, indent=2)
    values = value if isinstance(value, list) else [value]
    lines = [json.dumps(item) if isinstance(item, bool) else str(item) for item in values if item is not None]
    return "\n".join(lines)


def main():
    if sys.argv[1:] == ["cloud", "show", "--query", "name", "--output", "tsv"]:
        print("AzureCloud")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["rest"])
    parser.add_argument("--method", required=True, choices=["get", "post", "patch", "delete"])
    for option in ["--resource", "--url"]:
        parser.add_argument(option, required=True)
    for option in ["--headers", "--body", "--query"]:
        parser.add_argument(option)
    parser.add_argument("--output", default="json", choices=["json", "tsv"])
    given = parser.parse_args()
    if not given.url.startswith(given.resource + "/"):
        sys.exit("az: the URL is not one of the resource")
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
    if given.headers:
        name, value = given.headers.split("=", 1)
        headers[name] = value
    # As Entra does for what is new, one change is refused if the test says so.
    if given.method == "patch" and os.path.exists(os.environ["LATE"]):
        os.remove(os.environ["LATE"])
        sys.exit("az: 404 Request_ResourceNotFound")
    body = None
    if given.body:
        json.loads(given.body)
        body = given.body.encode()
    # As az does, what a URL cannot have is encoded.
    url = os.environ["GRAPH"] + given.url[len(given.resource):].replace(" ", "%20").replace("'", "%27")
    request = urllib.request.Request(url, data=body, headers=headers, method=given.method.upper())
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=os.environ["CA"])) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        sys.exit(f"az: {error.code} {error.read().decode()}")
    if not text:
        return
    value = json.loads(text)
    if given.query:
        value = jmespath.search(given.query, value)
    line = shown(value, given.output)
    if line:
        print(line)


if __name__ == "__main__":
    main()
