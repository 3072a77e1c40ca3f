
$organization = "$((Get-AcceptedDomain).DomainName)".Split(' ') + "$(@(Get-ConnectionInformation)[-1].TenantID)"
if ($organization -notcontains $tenant) {
    throw "Exchange Online is signed in at another organization than $tenant. Run Disconnect-ExchangeOnline, then this script again."
}
