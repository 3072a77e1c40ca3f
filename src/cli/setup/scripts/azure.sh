
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
