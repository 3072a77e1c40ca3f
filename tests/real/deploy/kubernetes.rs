//! The Helm chart and the sidecar.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::directory::Directory;
use crate::deploy::support::{documents, pem, run, said, succeed, text, tool, yaml};

const CHART: &str = "deploy/helm/gatepost";
const STATE_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
const FULL: &str = "tests/deploy/full-values.yaml";
const QUEUE: &str = "tests/deploy/queue-values.yaml";
const LEAST: [&str; 4] = [
    "--set",
    "config.microsoft.tenant=contoso.com",
    "--set-string",
    "config.microsoft.client_id=00000000-0000-0000-0000-000000000000",
];

/// What `helm install` would send to the cluster.
fn rendered(values: &[&str]) -> String {
    let mut arguments = vec!["template", "mail", CHART, "--namespace", "mail", "--kube-version", "1.34.0"];
    arguments.extend(values);
    succeed(tool("helm"), &arguments)
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> Vec<&'d Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// The one of its kind.
fn only<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    let found = of_kind(documents, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// Kubernetes' own schemas take each document whose kind they know.
fn valid(manifests: &str, foreign: usize) {
    let directory = Directory::new();
    let file = directory.write("manifests.yaml", manifests);
    let said = succeed(tool("kubernetes-validate"), &["--strict", file.to_str().unwrap()]);
    assert_eq!(said.matches(" passed for resource ").count() + foreign, documents(manifests).len(), "{said}");
}

/// The Pod Security Standard "restricted", and what it does not ask for: a root that is read-only,
/// no token of the cluster.
fn restricted(pod: &Value, ours: &str) {
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod[key], Value::Null, "{key}");
    }
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "name",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in pod["volumes"].as_array().unwrap() {
        assert!(volume.as_object().unwrap().keys().all(|key| allowed.contains(&key.as_str())), "{volume}");
    }
    let list = |key: &str| pod[key].as_array().cloned().unwrap_or_default();
    for container in list("containers").into_iter().chain(list("initContainers")) {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{}", container["name"]);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{}", container["name"]);
        for key in ["privileged", "runAsUser", "runAsNonRoot", "procMount", "seccompProfile"] {
            assert_eq!(context[key], Value::Null, "{key}");
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["hostPort"], Value::Null);
        }
        if container["name"] == ours {
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert!(container["resources"]["limits"]["memory"].is_string());
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                // Without the configuration: a mistake in it must not end a pod that serves.
                let asked: &[&str] = if probe == "readinessProbe" { &["status", "--ready"] } else { &["status"] };
                let command =
                    [&["/usr/local/bin/gatepost"], asked, &["--socket", "/run/gatepost/gatepost.sock"]].concat();
                assert_eq!(container[probe]["exec"]["command"], json!(command), "{probe}");
            }
        }
    }
}

/// Has the program check a configuration, with the files that the pod would mount: links, as the
/// kubelet makes them.
fn checked(configuration: &str, variables: &[(&str, &str)]) {
    let directory = Directory::new();
    let pem = pem();
    let files = [
        ("tls.crt", pem.as_str()),
        ("tls.key", &pem),
        ("client-secret", "hunter2"),
        ("gatepost.state.key", STATE_KEY),
        ("admin-token", "bO7Zq2kXn9TfWv4LcR1sYd8uHj3mPgAe"),
        ("azure-identity-token", "a.b.c"),
    ];
    for (name, content) in files {
        directory.write(&format!("..data/{name}"), content);
        symlink(format!("..data/{name}"), directory.path().join(name)).unwrap();
    }
    let here = directory.path().to_str().unwrap();
    // A check would find the placeholder.
    let (placeholder, id) = ("00000000-0000-0000-0000-000000000000", "2f5c7e10-7d0a-4c1e-9f6b-0d4a5b6c7d8e");
    let configuration = configuration.replace("/etc/gatepost-tls", here).replace(placeholder, id);
    let file = directory.write("proxy.yaml", configuration);
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["check", "--config"])
        .arg(file)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value.replace("MOUNTED", here))))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "needs helm"]
fn helm_finds_nothing_wrong_with_the_chart() {
    for values in [&LEAST[..], &["--values", FULL], &["--values", QUEUE]] {
        let mut arguments = vec!["lint", CHART, "--strict"];
        arguments.extend(values);
        succeed(tool("helm"), &arguments);
    }
    let directory = Directory::new();
    succeed(tool("helm"), &["package", CHART, "--destination", directory.path().to_str().unwrap()]);
}

#[test]
#[ignore = "needs helm"]
fn the_documented_commands_of_helm_render() {
    let page = text("docs/install/kubernetes.md");
    let block = |language: &str, number: usize| -> String {
        let from = page.split(&format!("```{language}\n")).nth(number).unwrap().split_once("```").unwrap().0;
        // Blocks of a list are indented.
        let indent = if from.starts_with("    ") { "    " } else { "" };
        from.lines().map(|line| format!("{}\n", line.strip_prefix(indent).unwrap_or(line))).collect()
    };
    let directory = Directory::new();
    let values = directory.write("my-values.yaml", block("yaml", 1));
    let mut rendered = String::new();
    for line in block("sh", 1).lines().filter(|line| !line.is_empty()) {
        let line = line.replace("my-values.yaml", values.to_str().unwrap());
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("helm"), "{line}");
        rendered = succeed(tool("helm"), &words.collect::<Vec<_>>());
    }
    let with = |number: usize| {
        let more = directory.write("more.yaml", block("yaml", number));
        let [values, more] = [&values, &more].map(|path| path.to_str().unwrap());
        documents(&succeed(tool("helm"), &["template", "mail", CHART, "--values", values, "--values", more]))
    };
    let with_queue = with(2);
    let claim = &only(&with_queue, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "20Gi");
    let with_large_messages = with(3);
    let pod = &only(&with_large_messages, "Deployment")["spec"]["template"]["spec"];
    assert!(pod["volumes"].as_array().unwrap().iter().any(|volume| volume["emptyDir"]["sizeLimit"] == "2Gi"), "{pod}");
    let configuration = yaml(only(&with_large_messages, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap());
    assert_eq!(configuration["state"]["key"], json!({"credential": "gatepost.state.key"}));
    let documents = documents(&rendered);
    let pod = &only(&documents, "Deployment")["spec"]["template"]["spec"];
    assert!(pod["containers"][0]["image"].as_str().unwrap().starts_with("registry.corp.example/gatepost:"), "{pod}");
    for secret in ["mail-tls", "gatepost", "gatepost-redis"] {
        assert!(pod.to_string().contains(&format!("\"{secret}\"")), "{secret}: {pod}");
    }
}

#[test]
#[ignore = "needs helm and kubernetes-validate"]
fn kubernetes_takes_what_the_chart_makes() {
    valid(&rendered(&LEAST), 0);
    // The Prometheus Operator's two kinds are none of Kubernetes' own.
    valid(&rendered(&["--values", FULL]), 2);
    valid(&rendered(&["--values", QUEUE]), 0);
}

#[test]
#[ignore = "needs kubernetes-validate"]
fn kubernetes_takes_the_sidecar() {
    valid(&text("deploy/kubernetes/sidecar.yaml"), 0);
}

#[test]
#[ignore = "needs helm"]
fn pods_of_the_chart_are_restricted() {
    for (values, kind) in
        [(&LEAST[..], "Deployment"), (&["--values", FULL], "Deployment"), (&["--values", QUEUE], "StatefulSet")]
    {
        let documents = documents(&rendered(values));
        restricted(&only(&documents, kind)["spec"]["template"]["spec"], "gatepost");
    }
}

#[test]
#[ignore = "needs helm"]
fn each_pod_with_a_queue_has_a_disk_that_outlives_it() {
    let documents = documents(&rendered(&["--values", QUEUE]));
    assert_eq!(of_kind(&documents, "Deployment"), Vec::<&Value>::new());
    let spec = &only(&documents, "StatefulSet")["spec"];
    let [claim] = spec["volumeClaimTemplates"].as_array().unwrap().as_slice() else { panic!("{spec}") };
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "50Gi");
    let kept = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], kept);
    let mounts = spec["template"]["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == claim["metadata"]["name"]).unwrap();
    assert_eq!(mount["readOnly"], Value::Null);
    // The top of a volume belongs to a group. Gatepost creates its own directory below.
    let configuration = yaml(only(&documents, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap());
    let directory = configuration["state"]["directory"].as_str().unwrap();
    assert!(directory.starts_with(&format!("{}/", mount["mountPath"].as_str().unwrap())), "{directory}");
    let services = of_kind(&documents, "Service");
    let governing = services.iter().find(|service| service["metadata"]["name"] == spec["serviceName"]).unwrap();
    assert_eq!(governing["spec"]["clusterIP"], "None");
    assert_eq!(governing["spec"]["selector"], spec["selector"]["matchLabels"]);
}

#[test]
fn the_sidecar_is_restricted() {
    let documents = documents(&text("deploy/kubernetes/sidecar.yaml"));
    let pod = &only(&documents, "Deployment")["spec"]["template"]["spec"];
    restricted(pod, "gatepost");
    assert_eq!(pod["initContainers"][0]["restartPolicy"], "Always");
}

#[test]
fn the_sidecar_ends_before_its_pod_is_killed() {
    let documents = documents(&text("deploy/kubernetes/sidecar.yaml"));
    let configuration = yaml(only(&documents, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap());
    let drain: u64 = configuration["limits"]["drain"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    let grace = &only(&documents, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!(drain < grace.as_u64().unwrap());
}

#[test]
fn gatepost_takes_the_configuration_of_the_sidecar() {
    let documents = documents(&text("deploy/kubernetes/sidecar.yaml"));
    let pod = &only(&documents, "Deployment")["spec"]["template"]["spec"]["initContainers"][0];
    let mounted = "/var/run/secrets/azure/tokens/azure-identity-token";
    let variables: Vec<(&str, &str)> = pod["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()))
        .map(|(name, value)| (name, if value == mounted { "MOUNTED/azure-identity-token" } else { value }))
        .filter(|(name, _)| *name != "RUNTIME_DIRECTORY")
        .collect();
    assert!(variables.iter().any(|(name, _)| *name == "AZURE_FEDERATED_TOKEN_FILE"));
    checked(only(&documents, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap(), &variables);
}

#[test]
#[ignore = "needs helm"]
fn gatepost_takes_the_configuration_of_the_chart() {
    let least = documents(&rendered(&LEAST));
    checked(only(&least, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap(), &[]);

    let full = documents(&rendered(&["--values", FULL]));
    let configuration =
        of_kind(&full, "ConfigMap").into_iter().find_map(|map| map["data"]["proxy.yaml"].as_str()).unwrap();
    let redis = ("GATEPOST__STATE__STORE", "rediss://mail:hunter2@redis.example:6380/0");
    checked(
        configuration,
        &[redis, ("CREDENTIALS_DIRECTORY", "MOUNTED"), ("GATEPOST__ADMIN__BIND", "10.244.0.7:9180")],
    );
    let queue = documents(&rendered(&["--values", QUEUE]));
    let configuration = only(&queue, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap();
    let configuration = configuration.replace("/var/lib/gatepost/state", "state");
    checked(&configuration, &[redis, ("CREDENTIALS_DIRECTORY", "MOUNTED")]);
    let environment = &only(&full, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"];
    let names: Vec<&str> = environment.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&redis.0) && names.contains(&"CREDENTIALS_DIRECTORY"), "{names:?}");
}

#[test]
#[ignore = "needs helm"]
fn values_that_hang_together_are_told_once() {
    let documents = documents(&rendered(&["--values", FULL]));
    let spec = &only(&documents, "Deployment")["spec"];
    let maps = of_kind(&documents, "ConfigMap");
    let configuration = yaml(maps.iter().find_map(|map| map["data"]["proxy.yaml"].as_str()).unwrap());
    assert_eq!(configuration["limits"], json!({"connections": 5000, "drain": "120s", "replicas": 6}));
    assert_eq!(spec["template"]["spec"]["terminationGracePeriodSeconds"], 140);
    assert_eq!(spec["replicas"], Value::Null, "the autoscaler decides");
    assert_eq!(only(&documents, "HorizontalPodAutoscaler")["spec"]["maxReplicas"], 6);
}

#[test]
#[ignore = "needs helm"]
fn each_port_of_the_service_leads_to_a_listener() {
    let documents = documents(&rendered(&LEAST));
    let configuration = yaml(only(&documents, "ConfigMap")["data"]["proxy.yaml"].as_str().unwrap());
    let container = &only(&documents, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let service = only(&documents, "Service");
    assert_eq!(service["spec"]["selector"], only(&documents, "Deployment")["spec"]["selector"]["matchLabels"]);
    for port in service["spec"]["ports"].as_array().unwrap() {
        let name = port["targetPort"].as_str().unwrap();
        let found = container["ports"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        let bind = configuration["listeners"][name]["bind"].as_str().unwrap();
        assert_eq!(bind.rsplit_once(':').unwrap().1, found["containerPort"].to_string());
        let ingress = only(&documents, "NetworkPolicy")["spec"]["ingress"][0]["ports"].as_array().unwrap();
        assert!(ingress.iter().any(|one| one["port"] == found["containerPort"]));
    }
}

#[test]
#[ignore = "needs helm"]
fn the_chart_brings_the_alerts_and_the_dashboard_as_they_are() {
    let documents = documents(&rendered(&["--values", FULL]));
    assert_eq!(only(&documents, "PrometheusRule")["spec"], yaml(&text("deploy/prometheus/rules.yaml")));
    let maps = of_kind(&documents, "ConfigMap");
    let dashboard = maps.iter().find_map(|map| map["data"]["gatepost.json"].as_str()).unwrap();
    let (brought, written): (Value, Value) = (
        serde_json::from_str(dashboard).unwrap(),
        serde_json::from_str(&text("deploy/grafana/gatepost.json")).unwrap(),
    );
    assert_eq!(brought, written);
    let monitor = &only(&documents, "ServiceMonitor")["spec"];
    let metrics =
        of_kind(&documents, "Service").into_iter().find(|service| service["spec"]["clusterIP"] == "None").unwrap();
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&metrics["metadata"]["labels"][label], value);
    }
}

#[test]
#[ignore = "needs helm"]
fn values_that_cannot_work_are_refused_with_a_reason() {
    let refused = |values: &[&str], reason: &str| {
        let mut arguments = vec!["template", "mail", CHART];
        arguments.extend(values);
        let output = run(tool("helm"), &arguments);
        assert!(!output.status.success() && said(&output).contains(reason), "{values:?}: {}", said(&output));
    };
    refused(&[], "config.microsoft is empty: give at least tenant and client_id");
    refused(&[&LEAST[..], &["--set", "replicas=3"]].concat(), "'replicas' not allowed");
    refused(&[&LEAST[..], &["--set", "replicaCount=0"]].concat(), "replicaCount");
    refused(&[&LEAST[..], &["--set", "replicaCount=5"]].concat(), "more than four replicas need a Redis");
    refused(&[&LEAST[..], &["--set", "metrics.enabled=true"]].concat(), "a Secret that holds admin-token");
    let of_pods =
        ["--set", "autoscaling.enabled=true,autoscaling.maxReplicas=3,config.listeners.submission.queue=true"];
    refused(&[&LEAST[..], &of_pods].concat(), "autoscaling.enabled cannot be used with a queue");
    let redis = ["--set", "redis.existingSecret=r"];
    refused(
        &[&LEAST[..], &redis].concat(),
        "credentials.existingSecret must name a Secret that holds gatepost.state.key",
    );
}

#[test]
fn every_value_is_documented_by_the_schema() {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap()).unwrap();
    let values = yaml(&text(&format!("{CHART}/values.yaml")));
    let mut known: Vec<&String> =
        schema["properties"].as_object().unwrap().keys().filter(|key| *key != "global").collect();
    let mut given: Vec<&String> = values.as_object().unwrap().keys().collect();
    known.sort();
    given.sort();
    assert_eq!(known, given);
}
