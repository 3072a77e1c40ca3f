# Needs the Azure CLI, signed in with the role Cloud Application Administrator (or Privileged Role Administrator).
# Every step looks before it changes something, so the script can run again.
# shellcheck disable=SC2016,SC2034,SC2329 # Queries have a dollar sign. Not every answer needs every part.
set -euo pipefail

