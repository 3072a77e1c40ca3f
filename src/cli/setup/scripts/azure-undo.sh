
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

