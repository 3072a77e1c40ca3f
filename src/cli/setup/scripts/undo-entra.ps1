
# ---- Entra: the application, with its service principal and consent ----

Connect-MgGraph -TenantId $tenant -Environment $graphEnvironment -Scopes $graphScopes -NoWelcome

$applications = @((Invoke-MgGraphRequest -Method GET -Uri "v1.0/$findApplication").value)
if (-not $applications) { 'note: the application does not exist' }
foreach ($application in $applications) {
    $clientId = $application.appId
    if (Test-Created 'the application') {
        Invoke-MgGraphRequest -Method DELETE -Uri "v1.0/applications/$($application.id)"
        "removed: the application $clientId, with its service principal and consent"
    }
}
