
# ---- Entra: the application, its certificate, its service principal, and consent ----

function Read-Graph([string] $Path) {
    Invoke-MgGraphRequest -Method GET -Uri "v1.0/$Path"
}

function Write-Graph([string] $Method, [string] $Path, [string] $Json) {
    Invoke-MgGraphRequest -Method $Method -Uri "v1.0/$Path" -Body $Json -ContentType 'application/json'
}

function Find-Application {
    $found = @((Read-Graph $findApplication).value)
    if (-not $clientId -and @($found.Where({ $_.tags -notcontains 'gatepost-setup' }))) {
        throw "An application of this name exists that gatepost setup did not create. Choose another --name, or name it with --client-id."
    }
    if ($found.Count -gt 1) {
        throw 'There are several applications of this name. Choose one with --client-id.'
    }
    if ($clientId -and -not $found) {
        throw "The tenant has no application $clientId."
    }
    $found
}

function Get-Principal([string] $AppId) {
    @((Read-Graph ('servicePrincipals?$filter=appId%20eq%20%27' + $AppId + '%27')).value)
}

Connect-MgGraph -TenantId $tenant -Environment $graphEnvironment -Scopes $graphScopes -NoWelcome

