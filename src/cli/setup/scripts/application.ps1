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

