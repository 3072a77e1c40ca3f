#!/usr/bin/env bash
# Created by `gatepost setup`. Removes from Entra what the script for Gatepost has created. tenant-setup.sh is the reverse.
# Needs the Azure CLI, signed in with the role Cloud Application Administrator (or Privileged Role Administrator).
# Every step looks before it changes something, so the script can run again.
# shellcheck disable=SC2016,SC2034,SC2329 # Queries have a dollar sign. Not every answer needs every part.
set -euo pipefail

exchange_undo='exchange-undo.ps1'
azure_cloud='AzureUSGovernment'
tenant='contoso.onmicrosoft.us'
graph='https://graph.microsoft.us'
client_id=''
find_application='applications?$filter=displayName%20eq%20%27Ticket%20system%27&$select=id,appId,displayName,tags,isFallbackPublicClient'
application_json='{"displayName":"Ticket system","isFallbackPublicClient":false,"requiredResourceAccess":[{"resourceAccess":[{"id":"5e5addcd-3e8d-4e90-baf5-964efab2b20a","type":"Role"},{"id":"7146a1f0-8703-45b3-9eae-527a64c00995","type":"Role"}],"resourceAppId":"00000002-0000-0ff1-ce00-000000000000"}],"signInAudience":"AzureADMyOrg","tags":["gatepost-setup"]}'
is_public=''
certificate='CERTIFICATE'
certificate_json='{"displayName":"gatepost setup","key":"CERTIFICATE","type":"AsymmetricX509Cert","usage":"Verify"}'
record="$(dirname -- "$0")/tenant-created.txt"

# ---- What the steps are made of ----

is_new=

call_graph() { # call_graph METHOD PATH ARGUMENT...
    local try method=$1 url="$graph/v1.0/$2" errors=
    shift 2
    for try in {1..13}; do
        if { errors=$(az rest --method "$method" --resource "$graph" --url "$url" "$@" 2>&1 >&3); } 3>&1; then
            return 0
        fi
        # Entra may need a minute before all of it knows what this run has created.
        if [ -z "$is_new" ] || [ "$try" = 13 ]; then break; fi
        grep -Eq 'Request_ResourceNotFound|not a valid reference|must in the local tenant' <<<"$errors" || break
        sleep 5
    done
    fail "$errors"
}

read_graph() { # read_graph PATH QUERY: one line for each value of all pages
    local next=$1 page line
    while [ -n "$next" ]; do
        page=$(call_graph get "$next" --query "[$2, \"@odata.nextLink\"][]" --output tsv) || exit 1
        next=
        while IFS= read -r line; do
            case $line in
                "$graph/v1.0/"*) next=${line#"$graph/v1.0/"} ;;
                ?*) printf '%s\n' "$line" ;;
            esac
        done <<<"$page"
    done
}

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

check_tenant() {
    local names cloud
    cloud=$(az cloud show --query name --output tsv)
    [ "$cloud" = "$azure_cloud" ] || fail "The Azure CLI is set to $cloud. Run: az cloud set --name $azure_cloud && az login --allow-no-subscriptions --tenant $tenant"
    names=$(read_graph 'organization?$select=id,verifiedDomains' '[value[].id, value[].verifiedDomains[].name][]')
    grep -Fxiq -- "$tenant" <<<"$names" || fail "The Azure CLI is signed in at another tenant. Sign in with: az login --allow-no-subscriptions --tenant $tenant"
}

# Only what the setup script has noted in the file beside it is removed.
remove_application() {
    local found application
    found=$(read_graph "$find_application" 'value[].appId')
    [ -n "$found" ] || echo 'note: the application does not exist'
    for client_id in $found; do
        if [ -f "$record" ] && grep -Fxiq -- "$client_id the application" "$record"; then
            application=$(read_graph "applications?\$filter=appId%20eq%20%27$client_id%27" 'value[0].id')
            call_graph delete "applications/$application"
            echo "removed: the application $client_id, with its service principal and consent"
        else
            echo "note: ${record##*/} does not have $client_id, so this application is left as it is"
        fi
    done
    [ -z "$exchange_undo" ] || echo "In Exchange Online, run this: pwsh $exchange_undo -Application ${client_id:-ID} (exchange-created.txt has the ID, too)"
}

# ---- The steps ----

check_tenant
remove_application
