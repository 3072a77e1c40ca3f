$organization = Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy
$allowed = @(($organization.EwsAllowedAppIDs -join ',') -split '[,\s]+').Where({ $_ })
if ($allowed -contains $clientId -and (Test-Created 'the entry in the EWS allow list')) {
    $others = @($allowed.Where({ $_ -ne $clientId }))
    if ($others) {
        Set-OrganizationConfig -EwsAllowedAppIDs ($others -join ',')
        'removed: the entry in the EWS allow list'
    } else {
        'note: the application stays the only entry of the EWS allow list, because an empty list lets every application in.'
    }
}
if ($created -contains "$clientId EWS for the tenant") {
    'note: EWS stays on for the tenant, although it was off before. Set-OrganizationConfig -EwsEnabled $false turns it off for all applications.'
}
