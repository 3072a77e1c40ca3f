
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
