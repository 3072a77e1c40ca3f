
# ---- Entra: the application, its certificate, its service principal, and consent ----

function Invoke-Graph([hashtable] $Request) {
    for ($try = 1; ; $try++) {
        try {
            return Invoke-MgGraphRequest @Request
        } catch {
            # Entra may need a minute before all of it knows what this run has created.
            $passes = "$_ $($_.ErrorDetails)" -match 'Request_ResourceNotFound|not a valid reference|must in the local tenant'
            if (-not $isNew -or -not $passes -or $try -gt 12) { throw }
        }
        Start-Sleep -Seconds 5
    }
}

function Read-Graph([string] $Path) {
    Invoke-Graph @{ Method = 'GET'; Uri = "v1.0/$Path" }
}

function Read-List([string] $Path) {
    $next = "v1.0/$Path"
    while ($next) {
        $page = Invoke-Graph @{ Method = 'GET'; Uri = $next }
        $page.value
        $next = $page.'@odata.nextLink'
    }
}

function Write-Graph([string] $Method, [string] $Path, [string] $Json) {
    Invoke-Graph @{ Method = $Method; Uri = "v1.0/$Path"; Body = $Json; ContentType = 'application/json' }
}

function Get-Principal([string] $AppId) {
    @(Read-List ('servicePrincipals?$filter=appId%20eq%20%27' + $AppId + '%27'))
}

$isNew = $false
Connect-MgGraph -TenantId $tenant -Environment $graphEnvironment -Scopes $graphScopes -NoWelcome

