# Created by `gatepost setup`. Sets up Entra for Gatepost. tenant-undo.ps1 is the reverse.
# Module: Microsoft.Graph.Authentication (Install-Module gets it).
# Role: Cloud Application Administrator or Privileged Role Administrator.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$configurationName = 'proxy.yaml'
$placeholder = '00000000-0000-0000-0000-000000000000'
$tenant = 'contoso.com'
$recordName = 'tenant-created.txt'
$graphEnvironment = 'Global'
$graphScopes = @('Application.ReadWrite.All')
$clientId = ''
$findApplication = 'applications?$filter=displayName%20eq%20%27Gatepost%27&$select=id,appId,displayName,tags,isFallbackPublicClient'
$applicationJson = '{"displayName":"Gatepost","isFallbackPublicClient":false,"requiredResourceAccess":[],"signInAudience":"AzureADMyOrg","tags":["gatepost-setup"]}'
$isPublic = $false
$certificate = 'CERTIFICATE'
$certificateJson = '{"displayName":"gatepost setup","key":"CERTIFICATE","type":"AsymmetricX509Cert","usage":"Verify"}'
$apis = @()
$permissions = @()
$unwanted = @(
    @{ Value = 'SMTP.SendAsApp'; Id = '7146a1f0-8703-45b3-9eae-527a64c00995'; Harm = 'with which Exchange does not use the role for sending' },
    @{ Value = 'full_access_as_app'; Id = 'dc890d15-9560-4a4c-9b7f-a736ec74ec40'; Harm = 'which opens all mailboxes' },
    @{ Value = 'Mail.Send'; Id = 'b633e1c5-b582-4048-a93e-9f11b44c7e96'; Harm = 'which opens all mailboxes' },
    @{ Value = 'Mail.ReadWrite'; Id = 'e2a3a72e-5f79-4c64-b1b1-878b674786c9'; Harm = 'which opens all mailboxes' },
    @{ Value = 'Mail.Read'; Id = '810c84a8-4a9e-49e6-bf7d-12d183f40d01'; Harm = 'which opens all mailboxes' }
)

# What is created is noted in a file beside this script, so that the reverse removes nothing else. Keep it.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName

function Add-Created([string] $What) {
    Add-Content -LiteralPath $record -Value "$clientId $What" -Encoding UTF8
    "created: $What"
}

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

$found = @(Read-List $findApplication)
# The search finds a new application a little late. If an earlier run has created one, it gets a minute.
for ($try = 1; -not $found -and $try -le 12 -and (Test-Path -LiteralPath $record); $try++) {
    Start-Sleep -Seconds 5
    $found = @(Read-List $findApplication)
}
if (-not $clientId -and @($found.Where({ $_.tags -notcontains 'gatepost-setup' }))) {
    throw 'An application of this name exists that gatepost setup did not create. Choose another --name, or name it with --client-id.'
}
if ($found.Count -gt 1) { throw 'There are several applications of this name. Choose one with --client-id.' }
if ($clientId -and -not $found) { throw "The tenant has no application $clientId." }
$application = $found[0]
if ($application) {
    "kept: the application $($application.appId)"
    if (-not $isPublic -and $application.isFallbackPublicClient) {
        throw 'The application allows public client flows, so Entra refuses its certificate (AADSTS700025). Choose another --name, or turn them off in Entra: Authentication, Settings.'
    }
    if ($isPublic -and -not $application.isFallbackPublicClient) {
        Write-Graph PATCH "applications/$($application.id)" '{"isFallbackPublicClient":true}' | Out-Null
        'changed: the application allows public client flows'
    }
} else {
    $application = Write-Graph POST 'applications' $applicationJson
    $isNew = $true
    $clientId = $application.appId
    Add-Created 'the application'
}
$clientId = $application.appId
"Application ID: $clientId"

if ($certificateJson) {
    $keys = @((Read-Graph ('applications/' + $application.id + '?$select=keyCredentials')).keyCredentials).Where({ $_ })
    if ($keys.Where({ $_.key -eq $certificate })) {
        'kept: the certificate of the application'
    } else {
        # The list is replaced as a whole, so the certificates that are there are sent again.
        $all = @($certificateJson)
        foreach ($key in $keys) {
            $shown = ConvertTo-Json -InputObject "$($key.displayName)"
            $all += '{"keyId":"' + $key.keyId + '","type":"' + $key.type + '","usage":"' + $key.usage + '","key":"' + $key.key + '","displayName":' + $shown + '}'
        }
        Write-Graph PATCH "applications/$($application.id)" ('{"keyCredentials":[' + ($all -join ',') + ']}') | Out-Null
        'created: the certificate of the application'
    }
}

# The id that counts is that of the service principal ("enterprise application"), not that of the registration.
$principal = @(Get-Principal $application.appId)[0]
if ($principal) {
    "kept: the service principal $($principal.id)"
} else {
    $principal = Write-Graph POST 'servicePrincipals' ('{"appId":"' + $application.appId + '"}')
    $isNew = $true
    "created: the service principal $($principal.id)"
}

$assigned = @(Read-List "servicePrincipals/$($principal.id)/appRoleAssignments")
foreach ($permission in $unwanted.Where({ $assigned.appRoleId -contains $_.Id })) {
    "warning: the application has the permission $($permission.Value) in Entra, $($permission.Harm). Remove it there."
}

foreach ($api in $apis) {
    $resource = @(Get-Principal $api.AppId)[0]
    if (-not $resource) { throw "The tenant has no service principal for $($api.AppId). Does it have Exchange Online?" }
    foreach ($permission in $permissions.Where({ $_.AppId -eq $api.AppId -and $_.Kind -eq 'Role' })) {
        if (-not @($resource.appRoles).Where({ $_.id -eq $permission.Id -and $_.value -eq $permission.Value })) {
            throw "$($permission.Value) has another id in this tenant. Report it."
        }
        if ($assigned.Where({ $_.appRoleId -eq $permission.Id -and $_.resourceId -eq $resource.id })) {
            "kept: the permission $($permission.Value)"
        } else {
            $json = '{"principalId":"' + $principal.id + '","resourceId":"' + $resource.id + '","appRoleId":"' + $permission.Id + '"}'
            Write-Graph POST "servicePrincipals/$($principal.id)/appRoleAssignments" $json | Out-Null
            "created: the permission $($permission.Value), with consent"
        }
    }
    if ($api.Scopes) {
        $grants = @(Read-List ('oauth2PermissionGrants?$filter=clientId%20eq%20%27' + $principal.id + '%27'))
        $grant = @($grants.Where({ $_.resourceId -eq $resource.id -and $_.consentType -eq 'AllPrincipals' }))[0]
        $held = @("$($grant.scope)".Split(' ').Where({ $_ }))
        $new = @($api.Scopes.Split(' ').Where({ $held -notcontains $_ }))
        $scope = ($held + $new) -join ' '
        if (-not $new) {
            "kept: consent for all users of the tenant to $($api.Scopes)"
        } elseif ($grant) {
            Write-Graph PATCH "oauth2PermissionGrants/$($grant.id)" ('{"scope":"' + $scope + '"}') | Out-Null
            "changed: consent for all users of the tenant to $scope"
        } else {
            $json = '{"clientId":"' + $principal.id + '","consentType":"AllPrincipals","resourceId":"' + $resource.id + '","scope":"' + $scope + '"}'
            Write-Graph POST 'oauth2PermissionGrants' $json | Out-Null
            "created: consent for all users of the tenant to $scope"
        }
    }
}
$objectId = $principal.id


$configuration = Join-Path -Path $PSScriptRoot -ChildPath $configurationName
if (Test-Path -LiteralPath $configuration) {
    $text = [IO.File]::ReadAllText($configuration)
    if ($text.Contains($placeholder)) {
        [IO.File]::WriteAllText($configuration, $text.Replace($placeholder, $clientId))
        "changed: $configurationName has the application ID"
    }
}
"Object ID of the service principal: $objectId"
"Run this next, in a new PowerShell window: ./exchange-setup.ps1 -Application $clientId -Principal $objectId"
