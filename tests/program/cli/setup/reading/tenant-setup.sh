#!/usr/bin/env bash
# Created by `gatepost setup`. Sets up Entra for Gatepost. tenant-undo.sh is the reverse.
# Needs the Azure CLI, signed in with the role Cloud Application Administrator (or Privileged Role Administrator).
# Every step looks before it changes something, so the script can run again.
# shellcheck disable=SC2016,SC2034,SC2329 # Queries have a dollar sign. Not every answer needs every part.
set -euo pipefail

configuration_name='proxy.yaml'
placeholder='00000000-0000-0000-0000-000000000000'
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

write_graph() { # write_graph METHOD PATH JSON QUERY
    call_graph "$1" "$2" --headers Content-Type=application/json --body "$3" --query "$4" --output tsv
}

find_application() { # sets application and client_id; application stays empty if there is none
    local foreign found try
    found=$(read_graph "$find_application" 'value[].id')
    # The search finds a new application a little late. If an earlier run has created one, it gets a minute.
    for try in {1..12}; do
        if [ -n "$found" ] || [ ! -f "$record" ]; then break; fi
        [ "$try" = 1 ] || sleep 5
        found=$(read_graph "$find_application" 'value[].id')
    done
    if [ -z "$client_id" ]; then
        foreign=$(read_graph "$find_application" "value[?!contains(tags || \`[]\`, 'gatepost-setup')].appId")
        [ -z "$foreign" ] || fail 'An application of this name exists that gatepost setup did not create. Choose another --name, or name it with --client-id.'
    fi
    case $found in
        *$'\n'*) fail 'There are several applications of this name. Choose one with --client-id.' ;;
        '') [ -z "$client_id" ] || fail "The tenant has no application $client_id." ;;
    esac
    application=$found
    [ -z "$application" ] || client_id=$(read_graph "$find_application" 'value[0].appId')
}

ensure_application() {
    local public created
    find_application
    if [ -n "$application" ]; then
        echo "kept: the application $client_id"
        public=$(read_graph "applications/$application" isFallbackPublicClient)
        if [ -z "$is_public" ] && [ "$public" = true ]; then
            fail 'The application allows public client flows, so Entra refuses its certificate (AADSTS700025). Choose another --name, or turn them off in Entra: Authentication, Settings.'
        fi
        if [ -n "$is_public" ] && [ "$public" != true ]; then
            write_graph patch "applications/$application" '{"isFallbackPublicClient":true}' @
            echo 'changed: the application allows public client flows'
        fi
        return
    fi
    created=$(write_graph post applications "$application_json" '[id, appId]')
    is_new=yes
    application=${created%%[[:space:]]*}
    client_id=${created##*[[:space:]]}
    echo "$client_id the application" >>"$record"
    echo "created: the application $client_id"
}

ensure_certificate() {
    local count known
    [ -n "$certificate" ] || return 0
    count=$(read_graph "applications/$application?\$select=keyCredentials" "length(keyCredentials[?key=='$certificate'])")
    if [ "$count" != 0 ]; then
        echo 'kept: the certificate of the application'
        return
    fi
    # The list is replaced as a whole, so the certificates that are there are sent again.
    known=$(call_graph get "applications/$application?\$select=keyCredentials" --query keyCredentials --output json)
    known=${known%"]"*}
    case $known in
        *'}'*) known="$known,$certificate_json]" ;;
        *) known="[$certificate_json]" ;;
    esac
    write_graph patch "applications/$application" "{\"keyCredentials\":$known}" @
    echo 'created: the certificate of the application'
}

ensure_principal() {
    local filter
    filter="servicePrincipals?\$filter=appId%20eq%20%27$client_id%27"
    # The id that counts is that of the service principal ("enterprise application"), not that of the registration.
    principal=$(read_graph "$filter" 'value[0].id')
    if [ -n "$principal" ]; then
        echo "kept: the service principal $principal"
        return
    fi
    principal=$(write_graph post servicePrincipals "{\"appId\":\"$client_id\"}" id)
    is_new=yes
    echo "created: the service principal $principal"
}

warn_of() { # warn_of ROLE_ID NAME HARM
    local assigned
    assigned=$(read_graph "servicePrincipals/$principal/appRoleAssignments" "value[?appRoleId=='$1'].id")
    [ -z "$assigned" ] || echo "warning: the application has the permission $2 in Entra, $3. Remove it there."
}

find_resource() { # find_resource APP_ID: sets resource
    resource=$(read_graph "servicePrincipals?\$filter=appId%20eq%20%27$1%27" 'value[0].id')
    [ -n "$resource" ] || fail "The tenant has no service principal for $1. Does it have Exchange Online?"
}

ensure_role() { # ensure_role APP_ID ROLE_ID NAME
    local resource known assigned
    find_resource "$1"
    known=$(read_graph "servicePrincipals/$resource" "appRoles[?id=='$2' && value=='$3'].id")
    [ -n "$known" ] || fail "$3 has another id in this tenant. Report it."
    assigned=$(read_graph "servicePrincipals/$principal/appRoleAssignments" "value[?appRoleId=='$2' && resourceId=='$resource'].id")
    if [ -n "$assigned" ]; then
        echo "kept: the permission $3"
        return
    fi
    write_graph post "servicePrincipals/$principal/appRoleAssignments" "{\"principalId\":\"$principal\",\"resourceId\":\"$resource\",\"appRoleId\":\"$2\"}" id >/dev/null
    echo "created: the permission $3, with consent"
}

ensure_scopes() { # ensure_scopes APP_ID SCOPE...
    local resource of_grant grant held scope new=
    find_resource "$1"
    shift
    of_grant="oauth2PermissionGrants?\$filter=clientId%20eq%20%27$principal%27"
    grant=$(read_graph "$of_grant" "value[?resourceId=='$resource' && consentType=='AllPrincipals'].id | [0]")
    held=
    [ -z "$grant" ] || held=$(read_graph "oauth2PermissionGrants/$grant" scope)
    for scope in "$@"; do
        case " $held " in
            *" $scope "*) ;;
            *) new="$new $scope" ;;
        esac
    done
    if [ -z "$new" ]; then
        echo "kept: consent for all users of the tenant to $*"
    elif [ -n "$grant" ]; then
        write_graph patch "oauth2PermissionGrants/$grant" "{\"scope\":\"$held$new\"}" @
        echo "changed: consent for all users of the tenant to$new"
    else
        write_graph post oauth2PermissionGrants "{\"clientId\":\"$principal\",\"consentType\":\"AllPrincipals\",\"resourceId\":\"$resource\",\"scope\":\"${new# }\"}" id >/dev/null
        echo "created: consent for all users of the tenant to$new"
    fi
}

note_client_id() {
    local file text
    file="$(dirname -- "$0")/$configuration_name"
    [ -f "$file" ] || return 0
    text=$(cat -- "$file")
    case $text in
        *"$placeholder"*)
            printf '%s\n' "${text//"$placeholder"/"$client_id"}" >"$file"
            echo "changed: $configuration_name has the application ID"
            ;;
    esac
}

# ---- The steps ----

check_tenant
ensure_application
ensure_certificate
ensure_principal
warn_of 'dc890d15-9560-4a4c-9b7f-a736ec74ec40' 'full_access_as_app' 'which opens all mailboxes'
warn_of 'b633e1c5-b582-4048-a93e-9f11b44c7e96' 'Mail.Send' 'which opens all mailboxes'
warn_of 'e2a3a72e-5f79-4c64-b1b1-878b674786c9' 'Mail.ReadWrite' 'which opens all mailboxes'
warn_of '810c84a8-4a9e-49e6-bf7d-12d183f40d01' 'Mail.Read' 'which opens all mailboxes'
ensure_role '00000002-0000-0ff1-ce00-000000000000' '5e5addcd-3e8d-4e90-baf5-964efab2b20a' 'IMAP.AccessAsApp'
ensure_role '00000002-0000-0ff1-ce00-000000000000' '7146a1f0-8703-45b3-9eae-527a64c00995' 'SMTP.SendAsApp'
note_client_id
echo "Application ID: $client_id"
echo "Object ID of the service principal: $principal"
echo "Exchange Online has no other way than PowerShell. Run this next: pwsh exchange-setup.ps1 -Application $client_id -Principal $principal"
