
# The list of applications that may use EWS. It is replaced as a whole, so the entries that are there are kept.
$organization = Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy
$allowed = @(($organization.EwsAllowedAppIDs -join ',') -split '[,\s]+').Where({ $_ })
$others = @($allowed.Where({ $_ -ne $clientId }))
if ($organization.EwsEnabled -eq $false -and -not $TurnOnEws) {
    throw "EWS is off for the tenant. Run this again with -TurnOnEws to turn it on for Gatepost and what the list has already: $($others -join ', ')"
}
if ($allowed -contains $clientId) {
    'kept: the entry in the EWS allow list'
} elseif ($others -or $organization.EwsEnabled -eq $false) {
    Set-OrganizationConfig -EwsAllowedAppIDs (($others + $clientId) -join ',')
    Add-Created 'the entry in the EWS allow list'
} else {
    "warning: the EWS allow list is empty and stays empty, because a list with Gatepost alone shuts out all other applications. To restrict EWS, write all of them: Set-OrganizationConfig -EwsAllowedAppIDs 'ID,ID,$clientId'"
}
if ($organization.EwsEnabled -eq $false) {
    Set-OrganizationConfig -EwsEnabled $true
    Add-Created 'EWS for the tenant'
} elseif ($null -eq $organization.EwsEnabled) {
    'warning: EwsEnabled is not set, so the list has no effect yet. Microsoft turns EWS off in such tenants. Set-OrganizationConfig -EwsEnabled $true lets only listed applications in.'
}
