"""Parses the scripts that `gatepost setup` makes for a tenant, and compares each command and parameter
with those that are known from Microsoft's documentation.

    python tests/deploy/tenant_scripts.py SCRIPT...
"""

import sys

import tree_sitter_bash
import tree_sitter_powershell
from tree_sitter import Language, Parser

# Cmdlets of Exchange Online and Graph with the parameters that the scripts may use. A misspelled one
# fails at the administrator's, half-way. Sources: the reference pages in MicrosoftDocs/office-docs-powershell
# and of the Microsoft Graph PowerShell module.
TENANT = {
    "Connect-MgGraph": {"TenantId", "Environment", "Scopes", "NoWelcome"},
    "Invoke-MgGraphRequest": {"Method", "Uri", "Body", "ContentType"},
    "Connect-ExchangeOnline": {"ExchangeEnvironmentName"},
    "Get-ConnectionInformation": set(),
    "Get-AcceptedDomain": set(),
    "Get-ServicePrincipal": {"Identity"},
    "New-ServicePrincipal": {"AppId", "ObjectId", "DisplayName"},
    "Remove-ServicePrincipal": {"Identity", "Confirm"},
    "Add-MailboxPermission": {"Identity", "User", "AccessRights", "WarningVariable", "WarningAction"},
    "Remove-MailboxPermission": {"Identity", "User", "AccessRights", "Confirm"},
    "Add-RecipientPermission": {"Identity", "Trustee", "AccessRights", "Confirm", "WarningVariable", "WarningAction"},
    "Remove-RecipientPermission": {"Identity", "Trustee", "AccessRights", "Confirm"},
    "Get-DistributionGroup": {"Identity", "ErrorAction"},
    "New-DistributionGroup": {"Name", "Type"},
    "Remove-DistributionGroup": {"Identity", "Confirm"},
    "Get-DistributionGroupMember": {"Identity", "ResultSize"},
    "Add-DistributionGroupMember": {"Identity", "Member"},
    "Remove-DistributionGroupMember": {"Identity", "Member", "Confirm"},
    "Get-ManagementScope": {"Identity", "ErrorAction"},
    "New-ManagementScope": {"Name", "RecipientRestrictionFilter"},
    "Remove-ManagementScope": {"Identity", "Confirm"},
    "Get-ManagementRoleAssignment": {"Identity", "ErrorAction"},
    "New-ManagementRoleAssignment": {"Name", "Role", "App", "CustomResourceScope"},
    "Remove-ManagementRoleAssignment": {"Identity", "Confirm"},
    "Test-ServicePrincipalAuthorization": {"Identity", "Resource"},
    "Get-CASMailbox": {"Identity", "ErrorAction"},
    "Set-CASMailbox": {"Identity", "ImapEnabled", "PopEnabled", "SmtpClientAuthenticationDisabled", "EwsEnabled"},
    "Get-OrganizationConfig": {"RetrieveEwsOperationAccessPolicy"},
    "Set-OrganizationConfig": {"EwsEnabled", "EwsAllowedAppIDs"},
}

# What PowerShell itself has.
LANGUAGE = {
    "Add-Content": {"LiteralPath", "Value", "Encoding"},
    "ConvertTo-Json": {"InputObject"},
    "Format-Table": set(),
    "Get-Content": {"LiteralPath", "Encoding"},
    "Join-Path": {"Path", "ChildPath"},
    "Out-Null": set(),
    "Start-Sleep": {"Seconds"},
    "Test-Path": {"LiteralPath"},
    "Write-Host": set(),
}

# What the scripts for a shell may run, with the options of the Azure CLI.
PROGRAMS = {"az", "cat", "dirname", "grep", "sleep"}
BUILTINS = {"break", "echo", "exit", "local", "printf", "read", "return", "set", "shift", "[", ":"}
AZ = {"--method", "--resource", "--url", "--query", "--output", "--headers", "--body"}


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


def text(node):
    return node.text.decode()


def flaws_of_tree(tree):
    for node in walk(tree.root_node):
        if node.type == "ERROR" or node.is_missing:
            yield node.start_point[0] + 1, f"not understood: {text(node)[:60]!r}"


def flaws_of_powershell(source):
    tree = Parser(Language(tree_sitter_powershell.language())).parse(source)
    yield from flaws_of_tree(tree)
    own = {text(node.child_by_field_name("name") or node.children[1]) for node in walk(tree.root_node) if node.type == "function_statement"}
    known = {name.lower(): parameters for name, parameters in (TENANT | LANGUAGE).items()}
    commands = 0
    for node in walk(tree.root_node):
        if node.type != "command":
            continue
        line = node.start_point[0] + 1
        name = next((text(child) for child in walk(node) if child.type == "command_name"), None)
        if name is None or name in own:
            continue
        commands += 1
        parameters = known.get(name.lower())
        if parameters is None:
            yield line, f"unknown command: {name}"
            continue
        spelled = {parameter.lower() for parameter in parameters}
        # Commands within the arguments have their own turn.
        elements = [child for child in node.children if child.type == "command_elements"]
        for child in (child for element in elements for child in element.children):
            if child.type == "command_parameter":
                parameter = text(child).lstrip("-").split(":")[0]
                if parameter.lower() not in spelled:
                    yield line, f"unknown parameter of {name}: {parameter}"
    if commands < 3:
        yield 0, f"only {commands} commands were found"


def flaws_of_shell(source):
    tree = Parser(Language(tree_sitter_bash.language())).parse(source)
    yield from flaws_of_tree(tree)
    own = {text(node.child_by_field_name("name")) for node in walk(tree.root_node) if node.type == "function_definition"}
    calls = 0
    for node in walk(tree.root_node):
        if node.type != "command":
            continue
        line = node.start_point[0] + 1
        name = text(node.child_by_field_name("name"))
        if name not in own | PROGRAMS | BUILTINS:
            yield line, f"unknown command: {name}"
        if name == "az":
            calls += 1
            options = {text(child) for child in node.children if text(child).startswith("--")}
            for option in options - AZ:
                yield line, f"unknown option of az: {option}"
    if calls < 2:
        yield 0, f"only {calls} calls of az were found"


def main():
    found = 0
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            source = file.read()
        flaws = flaws_of_powershell if path.endswith(".ps1") else flaws_of_shell
        for line, flaw in flaws(source):
            found += 1
            print(f"{path}:{line}: {flaw}")
    print(f"{len(sys.argv) - 1} scripts, {found} flaws")
    sys.exit(1 if found or len(sys.argv) < 2 else 0)


if __name__ == "__main__":
    main()
