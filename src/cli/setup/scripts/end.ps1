
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
