//! The pods of Spark's, as an operator of the cluster sees them.

use serde_json::Value;

use super::cluster::Cluster;

/// A pod of a driver or of an executor.
#[derive(Clone, Debug)]
pub struct SparkPod {
    /// Its name.
    pub name: String,
    /// The application's id.
    pub app: String,
    /// Whether it is a driver's.
    pub is_driver: bool,
    /// As Kubernetes calls it: `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// The application's secret, where the pod itself holds it.
    pub secret: Option<String>,
}

impl Cluster {
    /// All pods of Spark's, in all namespaces.
    #[track_caller]
    pub fn spark_pods(&self) -> Vec<SparkPod> {
        let list = self.kubectl(&["get", "pods", "-A", "-l", "spark-app-selector", "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
        list["items"].as_array().into_iter().flatten().map(SparkPod::of).collect()
    }
}

impl SparkPod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = &pod["metadata"]["labels"];
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let mut variables =
            containers.flat_map(|container| container["env"].as_array().into_iter().flatten());
        let secret = variables.find(|variable| variable["name"] == "_SPARK_AUTH_SECRET");
        Self {
            name: text(&pod["metadata"]["name"]),
            app: text(&labels["spark-app-selector"]),
            is_driver: labels["spark-role"] == "driver",
            phase: text(&pod["status"]["phase"]),
            secret: secret.and_then(|variable| variable["value"].as_str()).map(str::to_owned),
        }
    }
}
