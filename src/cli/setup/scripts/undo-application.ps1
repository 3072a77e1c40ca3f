
if (-not $application) {
    'note: the application does not exist'
} elseif ($application.tags -contains 'gatepost-setup') {
    Invoke-MgGraphRequest -Method DELETE -Uri "v1.0/applications/$($application.id)"
    "removed: the application $($application.appId), with its service principal and consent"
} else {
    "note: the application $($application.appId) stays, because gatepost setup did not create it. Look at its certificates and permissions."
}
