#!/usr/bin/env bash
# Created by `gatepost setup`. Removes from Entra what the script for Gatepost has created. tenant-setup.sh is the reverse.
# Needs the Azure CLI, signed in with the role Cloud Application Administrator (or Privileged Role Administrator).
# Every step looks before it changes something, so the script can run again.
# shellcheck disable=SC2016,SC2034,SC2329 # Queries have a dollar sign. Not every answer needs every part.
set -euo pipefail

exchange_undo='exchange-undo.ps1'
tenant='contoso.onmicrosoft.us'
graph='https://graph.microsoft.us'
client_id=''
find_application='applications?$filter=displayName%20eq%20%27Ticket%20system%27&$select=id,appId,displayName,tags,isFallbackPublicClient'
application_json='{"displayName":"Ticket system","isFallbackPublicClient":false,"requiredResourceAccess":[{"resourceAccess":[{"id":"5e5addcd-3e8d-4e90-baf5-964efab2b20a","type":"Role"},{"id":"7146a1f0-8703-45b3-9eae-527a64c00995","type":"Role"}],"resourceAppId":"00000002-0000-0ff1-ce00-000000000000"}],"signInAudience":"AzureADMyOrg","tags":["gatepost-setup"]}'
is_public=''
certificate='CERTIFICATE'
certificate_json='{"displayName":"gatepost setup","key":"CERTIFICATE","type":"AsymmetricX509Cert","usage":"Verify"}'

# ---- What the steps are made of ----

read_graph() { # read_graph PATH QUERY: one line for each value
    az rest --method get --resource "$graph" --url "$graph/v1.0/$1" --query "$2" --output tsv
}

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

check_tenant() {
    local names
    names=$(read_graph 'organization?$select=id,verifiedDomains' '[value[].id, value[].verifiedDomains[].name][]')
    grep -Fxiq -- "$tenant" <<<"$names" || fail "The Azure CLI is signed in at another tenant. Sign in with: az login --allow-no-subscriptions --tenant $tenant"
}

find_application() { # sets application and client_id; both stay empty if there is none
    local foreign found
    if [ -z "$client_id" ]; then
        foreign=$(read_graph "$find_application" "value[?!contains(tags || \`[]\`, 'gatepost-setup')].appId")
        [ -z "$foreign" ] || fail 'An application of this name exists that gatepost setup did not create. Choose another --name, or name it with --client-id.'
    fi
    found=$(read_graph "$find_application" 'value[].id')
    case $found in
        *$'\n'*) fail 'There are several applications of this name. Choose one with --client-id.' ;;
        '') [ -z "$client_id" ] || fail "The tenant has no application $client_id." ;;
    esac
    application=$found
    [ -z "$application" ] || client_id=$(read_graph "$find_application" 'value[0].appId')
}

remove_application() {
    local ours
    find_application
    if [ -z "$application" ]; then
        echo 'note: the application does not exist'
        return
    fi
    ours=$(read_graph "$find_application" "value[?contains(tags || \`[]\`, 'gatepost-setup')].id")
    if [ -n "$ours" ]; then
        az rest --method delete --resource "$graph" --url "$graph/v1.0/applications/$application"
        echo "removed: the application $client_id, with its service principal and consent"
        [ -z "$exchange_undo" ] || echo "In Exchange Online, run this: pwsh $exchange_undo -Application $client_id"
    else
        echo "note: the application $client_id stays, because gatepost setup did not create it. Look at its certificates and permissions."
    fi
}

# ---- The steps ----

check_tenant
remove_application
