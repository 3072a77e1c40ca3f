
# Only what the setup script has noted in the file beside it is removed.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName
$created = @()
if (Test-Path -LiteralPath $record) { $created = @(Get-Content -LiteralPath $record -Encoding UTF8) }

function Test-Created([string] $What) {
    if ($created -contains "$clientId $What") { return $true }
    Write-Host "note: $recordName does not have $clientId $What, so this is left as it is"
    $false
}
