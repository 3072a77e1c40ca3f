
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

