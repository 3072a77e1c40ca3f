"""Scanners that others wrote: testssl.sh and sslyze, at each kind of listener."""

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys

# Listeners, and what a scanner calls the protocol whose STARTTLS it must speak.
LISTENERS = {
    "imaps": None,
    "pop3s": None,
    "smtps": None,
    "graphs": None,
    "ewss": None,
    "imap-starttls": "imap",
    "pop3-starttls": "pop3",
    "smtp-starttls": "smtp",
    "submission-starttls": "smtp",
}

# What testssl.sh looks at: protocols, cipher categories, forward secrecy, server defaults, vulnerabilities.
TESTSSL = ["--protocols", "--std", "--fs", "--server-defaults", "--vulnerable"]

# The commands behind the entries of CHECKS.
SSLYZE = ["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--heartbleed", "--openssl_ccs", "--compression"]
SSLYZE += ["--early_data", "--reneg", "--robot", "--fallback", "--ems", "--resum", "--elliptic_curves"]

# Findings about the scanner's own OpenSSL, and about resumption, which it gives up on a busy machine; the other suites see to it.
LEFT_OUT = ("engine_problem", "sessionresumption_")

# Severities that tell of nothing to do.
FINE = ("OK", "INFO", "DEBUG")


def parallel(work):
    """Runs the work of each listener, and yields its name and what came of it."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(LISTENERS, pool.map(lambda item: work(*item), LISTENERS.items()))


def testssl(world, _, results):
    program = shutil.which("testssl")
    if not program:
        results.could_not_get("testssl.sh (Debian's package of that name; apt-get needs root)")
        return

    def scan(name, starttls):
        report = world.directory / f"testssl-{name}.json"
        command = [program, "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "none"]
        command += ["--add-ca", str(world.authority), "--jsonfile", str(report), *TESTSSL]
        command += ["--starttls", starttls] if starttls else []
        with (world.directory / f"testssl-{name}.log").open("w") as log:
            subprocess.run(
                [*command, f"localhost:{world.ports[name]}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=900
            )
        return json.loads(report.read_text())

    for name, findings in parallel(scan):
        worst = {}
        for finding in findings:
            if finding["id"].startswith(LEFT_OUT):
                continue
            # One case for each identifier; a certificate's have a number behind.
            case = f"{finding['id'].split(' ')[0]} at {name}"
            problem = None if finding["severity"] in FINE else f"{finding['severity']}: {finding['finding'].strip()}"
            worst[case] = worst.get(case) or problem
        for case, problem in worst.items():
            results.note("testssl.sh", case, problem)
        scanned = {case.split(" ")[0] for case in worst}
        for needed in ("TLS1_2", "TLS1_3", "SSLv2", "heartbleed", "ROBOT", "LUCKY13"):
            results.note("testssl.sh", f"{needed} was looked at, at {name}", None if needed in scanned else "it was not")


def sslyze(world, _, results):
    def scan(name, starttls):
        report = world.directory / f"sslyze-{name}.json"
        command = [sys.executable, "-m", "sslyze", "--json_out", str(report), "--mozilla_config", "disable", *SSLYZE]
        command += ["--starttls", starttls] if starttls else []
        output = subprocess.run(
            [*command, f"localhost:{world.ports[name]}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
        )
        if not report.exists():
            return None, output.stdout + output.stderr
        return json.loads(report.read_text()), None

    for name, (report, problem) in parallel(scan):
        if problem:
            results.note("sslyze", f"it runs, at {name}", problem)
            continue
        [server] = report["server_scan_results"]
        if not server["scan_result"]:
            results.note("sslyze", f"it connects, at {name}", str(server["connectivity_error_trace"]))
            continue
        for case, test in CHECKS.items():
            if case == "tls_1_3_early_data" and LISTENERS[name]:
                # sslyze knows it for HTTP only, and breaks.
                continue
            attempt = server["scan_result"][case]
            if attempt["status"] != "COMPLETED":
                results.note("sslyze", f"{case} at {name}", f"{attempt['error_reason']}: {attempt['error_trace']}"[:300])
            else:
                results.run("sslyze", f"{case} at {name}", test, attempt["result"])


def accepts_none(result):
    names = [suite["cipher_suite"]["name"] for suite in result["accepted_cipher_suites"]]
    return f"accepted: {names}" if names else None


def accepts_modern(result):
    names = [suite["cipher_suite"]["name"] for suite in result["accepted_cipher_suites"]]
    if not names:
        return "not spoken"
    weak = [name for name in names if not (name.endswith(("GCM_SHA256", "GCM_SHA384", "POLY1305_SHA256")))]
    weak += [name for name in names if name.startswith("TLS_RSA_")]
    return f"accepted: {weak}" if weak else None


def is_false(key):
    return lambda result: f"{key} is {result[key]}" if result[key] is not False else None


CHECKS = {
    "ssl_2_0_cipher_suites": accepts_none,
    "ssl_3_0_cipher_suites": accepts_none,
    "tls_1_0_cipher_suites": accepts_none,
    "tls_1_1_cipher_suites": accepts_none,
    "tls_1_2_cipher_suites": accepts_modern,
    "tls_1_3_cipher_suites": accepts_modern,
    "heartbleed": is_false("is_vulnerable_to_heartbleed"),
    "openssl_ccs_injection": is_false("is_vulnerable_to_ccs_injection"),
    "tls_compression": is_false("supports_compression"),
    "tls_1_3_early_data": is_false("supports_early_data"),
    "session_renegotiation": is_false("is_vulnerable_to_client_renegotiation_dos"),
    "robot": lambda result: None if result["robot_result"].startswith("NOT_VULNERABLE") else result["robot_result"],
    "tls_fallback_scsv": lambda result: None if result["supports_fallback_scsv"] else "not supported",
    "tls_extended_master_secret": lambda result: None if result["supports_ems_extension"] else "not supported",
    # Of tickets it wants that the same one comes again, but each session gets a new one: the suite `tls` looks at them.
    "session_resumption": lambda result: None
    if result["session_id_resumption_result"] == "FULLY_SUPPORTED"
    else result["session_id_resumption_result"],
    "elliptic_curves": lambda result: None
    if {curve["name"] for curve in result["supported_curves"]} <= {"X25519", "secp256r1", "secp384r1"}
    else str(result["supported_curves"]),
}
