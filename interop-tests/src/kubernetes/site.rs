//! The configuration of the daemons, and the keys that they know each other by.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::images::PAUSE;

/// Of the node.
pub(super) const ADDRESS: &str = "10.77.0.1";
/// The first of the range of services, which is the API server's.
const SERVICE: &str = "10.96.0.1";
const PODS: &str = "10.88.0.0/16";
const TOKEN: &str = "only-for-tests";

/// Writes all of it to `dir/conf`.
pub(super) fn write(dir: &Path, group: &str, packages: &Path) {
    let conf = dir.join("conf");
    let files = certificates()
        .into_iter()
        .chain([
            ("tokens", format!("{TOKEN},admin,admin,system:masters\n")),
            ("kubeconfig", kubeconfig(&conf)),
            ("containerd.toml", containerd(dir, packages)),
            ("kubelet.yaml", kubelet(dir, group)),
            ("kube-proxy.yaml", kube_proxy(&conf)),
            ("cni/10-pods.conflist", pods(dir)),
        ])
        .collect::<Vec<_>>();
    fs::create_dir_all(conf.join("cni")).unwrap_or_else(|e| panic!("cannot create {}: {e}", conf.display()));
    for (name, text) in files {
        fs::write(conf.join(name), text).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
    }
}

/// An authority, the API server's certificate, and the key of service accounts.
fn certificates() -> Vec<(&'static str, String)> {
    let key = || KeyPair::generate().expect("a key of the default kind");
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "sealed-shuffle test cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = key();
    let authority_pem = authority.self_signed(&authority_key).expect("the key signs").pem();
    let issuer = Issuer::new(authority, authority_key);
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
        "127.0.0.1",
        ADDRESS,
        SERVICE,
    ];
    let mut server = CertificateParams::new(names.map(str::to_owned)).expect("the names are names");
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.use_authority_key_identifier_extension = true;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (server_key, accounts) = (key(), key());
    let server_pem = server.signed_by(&server_key, &issuer).expect("the authority signs").pem();
    vec![
        ("ca.pem", authority_pem),
        ("server.pem", server_pem),
        ("server.key", server_key.serialize_pem()),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
    ]
}

fn kubeconfig(conf: &Path) -> String {
    let authority = conf.join("ca.pem").display().to_string();
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: test
  cluster: {{server: 'https://{ADDRESS}:6443', certificate-authority: {authority}}}
users:
- name: admin
  user: {{token: {TOKEN}}}
contexts:
- name: test
  context: {{cluster: test, user: admin}}
current-context: test
"
    )
}

fn containerd(dir: &Path, packages: &Path) -> String {
    let (dir, packages) = (dir.display(), packages.display());
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
# The machine may not let a process be spared more than the test is.
restrict_oom_score_adj = true
sandbox_image = "{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{packages}/usr/lib/cni"
conf_dir = "{dir}/conf/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{packages}/usr/sbin/runc"
SystemdCgroup = false
"#
    )
}

fn kubelet(dir: &Path, group: &str) -> String {
    let dir = dir.display();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{group}
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
clusterDNS: [{ADDRESS}]
clusterDomain: cluster.local
resolvConf: {dir}/resolv.conf
podLogsDir: {dir}/pod-logs
volumePluginDir: {dir}/volume-plugins
# The machine's disk may be nearly full without harm to a test.
evictionHard: {{memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi}}
imageGCHighThresholdPercent: 100
syncFrequency: 5s
"
    )
}

fn kube_proxy(conf: &Path) -> String {
    let conf = conf.display();
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: {conf}/kubeconfig}}
mode: nftables
clusterCIDR: {PODS}
hostnameOverride: node-1
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"
    )
}

/// A bridge without a way out.
fn pods(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{
"type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
"ipam": {{"type": "host-local", "dataDir": "{dir}/addresses", "ranges": [[{{"subnet": "{PODS}"}}]],
"routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"#
    )
}
