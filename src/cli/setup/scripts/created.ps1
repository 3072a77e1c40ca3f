
# What is created is noted in a file beside this script, so that the reverse removes nothing else. Keep it.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName

function Add-Created([string] $What) {
    Add-Content -LiteralPath $record -Value "$clientId $What" -Encoding UTF8
    "created: $What"
}
