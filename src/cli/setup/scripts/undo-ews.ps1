$organization = Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy
$allowed = @(($organization.EwsAllowedAppIDs -join ',') -split '[,\s]+').Where({ $_ })
if ($clientId -and $allowed -contains $clientId) {
    $others = @($allowed.Where({ $_ -ne $clientId }))
    if ($others) {
        Set-OrganizationConfig -EwsAllowedAppIDs ($others -join ',')
        'removed: the entry in the EWS allow list'
    } else {
        'note: the application stays the only entry of the EWS allow list, because an empty list lets every application in.'
    }
}
