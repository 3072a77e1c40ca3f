# Created by `gatepost setup`. Sets up the tenant for Gatepost. tenant-undo.ps1 is the reverse.
# Modules: Microsoft.Graph.Authentication, ExchangeOnlineManagement (Install-Module gets them).
# Roles: Cloud Application Administrator or Privileged Role Administrator, Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'

$configurationName = 'proxy.yaml'
$placeholder = '00000000-0000-0000-0000-000000000000'
$tenant = 'contoso.com'
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
$name = 'Gatepost'
$mailboxes = @(
    'scan@contoso.com',
    'o''neil@contoso.com'
)
$protocols = @('smtp')
$groupName = 'Gatepost mailboxes'
$scopeName = 'Gatepost scope'
$roles = @(
    @{ Role = 'Application SMTP.SendAsApp'; Name = 'Gatepost SMTP.SendAsApp' }
)

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

$application = Find-Application
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
    "created: the application $($application.appId)"
}

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
    "created: the service principal $($principal.id)"
}

$assigned = @((Read-Graph "servicePrincipals/$($principal.id)/appRoleAssignments").value)
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
        $grants = @((Read-Graph ('oauth2PermissionGrants?$filter=clientId%20eq%20%27' + $principal.id + '%27')).value)
        $grant = @($grants.Where({ $_.resourceId -eq $resource.id -and $_.consentType -eq 'AllPrincipals' }))[0]
        $held = @("$($grant.scope)".Split(' ').Where({ $_ }))
        $new = @($api.Scopes.Split(' ').Where({ $held -notcontains $_ }))
        $scope = ($held + $new) -join ' '
        if (-not $new) {
            "kept: consent to $($api.Scopes)"
        } elseif ($grant) {
            Write-Graph PATCH "oauth2PermissionGrants/$($grant.id)" ('{"scope":"' + $scope + '"}') | Out-Null
            "changed: consent to $scope"
        } else {
            $json = '{"clientId":"' + $principal.id + '","consentType":"AllPrincipals","resourceId":"' + $resource.id + '","scope":"' + $scope + '"}'
            Write-Graph POST 'oauth2PermissionGrants' $json | Out-Null
            "created: consent to $scope"
        }
    }
}
$clientId = $application.appId
$objectId = $principal.id


# ---- Exchange Online ----

Connect-ExchangeOnline

# A misspelled mailbox, or the wrong organization, is found before the first change.
foreach ($mailbox in $mailboxes) {
    Get-CASMailbox -Identity $mailbox | Out-Null
}

# Exchange knows the application by the object id of its service principal. With a wrong one every login fails.
foreach ($wrong in @(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId -and $_.ObjectId -ne $objectId })) {
    Remove-ServicePrincipal -Identity $wrong.ObjectId -Confirm:$false
    "removed: the service principal with the wrong object id $($wrong.ObjectId)"
}
$known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
if ($known) {
    'kept: the service principal in Exchange'
} else {
    $known = New-ServicePrincipal -AppId $clientId -ObjectId $objectId -DisplayName $name
    'created: the service principal in Exchange'
}
$names = @("$($known.Identity)", "$($known.Name)", "$($known.ObjectId)", "$($known.DisplayName)").Where({ $_ })

# Roles of Exchange (RBAC for Applications) for the members of one group. They need the role Organization Management.
$group = @(@(Get-DistributionGroup -Identity $groupName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $groupName }))[0]
if ($group) {
    "kept: the group $groupName"
} else {
    $group = New-DistributionGroup -Name $groupName -Type Security
    "created: the group $groupName"
}
$members = @(Get-DistributionGroupMember -Identity $group.DistinguishedName -ResultSize Unlimited)
foreach ($mailbox in $mailboxes) {
    if ($members.Where({ "$($_.PrimarySmtpAddress)" -eq $mailbox })) {
        "kept: $mailbox in the group"
    } else {
        Add-DistributionGroupMember -Identity $group.DistinguishedName -Member $mailbox
        "created: $mailbox in the group"
    }
}
foreach ($other in $members.Where({ $mailboxes -notcontains "$($_.PrimarySmtpAddress)" })) {
    "warning: $($other.PrimarySmtpAddress) is in the group as well, so the application reaches it."
}
$filter = "MemberOfGroup -eq '" + $group.DistinguishedName.Replace("'", "''") + "'"
$scope = @(@(Get-ManagementScope -Identity $scopeName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $scopeName }))[0]
if (-not $scope) {
    New-ManagementScope -Name $scopeName -RecipientRestrictionFilter $filter | Out-Null
    "created: the scope $scopeName"
} elseif ("$($scope.RecipientFilter)".Contains($group.DistinguishedName)) {
    "kept: the scope $scopeName"
} else {
    throw "The scope $scopeName exists with another filter. Choose another --name."
}
foreach ($role in $roles) {
    $assignmentName = $role.Name
    if (@(Get-ManagementRoleAssignment -Identity $assignmentName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $assignmentName })) {
        "kept: the role $($role.Role)"
    } else {
        New-ManagementRoleAssignment -Name $assignmentName -Role $role.Role -App $clientId -CustomResourceScope $scopeName | Out-Null
        "created: the role $($role.Role)"
    }
}
Test-ServicePrincipalAuthorization -Identity $known.Identity -Resource $mailboxes[0] | Format-Table

foreach ($mailbox in $mailboxes) {
    $switches = Get-CASMailbox -Identity $mailbox
    if ($protocols -contains 'imap' -and -not $switches.ImapEnabled) {
        Set-CASMailbox -Identity $mailbox -ImapEnabled $true
        "changed: IMAP is on for $mailbox"
    }
    if ($protocols -contains 'pop3' -and -not $switches.PopEnabled) {
        Set-CASMailbox -Identity $mailbox -PopEnabled $true
        "changed: POP3 is on for $mailbox"
    }
    # The mailbox's own value counts. The tenant's default stays as it is.
    if ($protocols -contains 'smtp' -and $switches.SmtpClientAuthenticationDisabled -ne $false) {
        Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false
        "changed: SMTP AUTH is on for $mailbox"
    }
    if ($protocols -contains 'ews' -and -not $switches.EwsEnabled) {
        Set-CASMailbox -Identity $mailbox -EwsEnabled $true
        "changed: EWS is on for $mailbox"
    }
}

$configuration = Join-Path -Path $PSScriptRoot -ChildPath $configurationName
if (Test-Path -LiteralPath $configuration) {
    $text = [IO.File]::ReadAllText($configuration)
    if ($text.Contains($placeholder)) {
        [IO.File]::WriteAllText($configuration, $text.Replace($placeholder, $clientId))
        "changed: $configurationName has the application ID"
    }
}
"Application ID: $clientId"
"Object ID of the service principal: $objectId"
'Exchange may need up to two hours before it sees a new right. Then run gatepost doctor.'
