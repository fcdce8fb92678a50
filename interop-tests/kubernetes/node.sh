# A node with its control plane, as the first process of its name spaces. It ends with its input: the kernel kills all others,
# and all mounts and networks go with the name spaces.
#
# Arguments: directory, name of the control groups, the program of cluster/, root of unpacked packages.
dir=$1 group=$2 program=$3 packages=$4
address=10.77.0.1 name=node-1
export PATH=$packages/usr/sbin:$packages/usr/bin:$PATH
export LD_LIBRARY_PATH=$packages/usr/lib/x86_64-linux-gnu:$packages/lib/x86_64-linux-gnu
# As the machine counts processes, while /proc is still the machine's.
read -r pid _ < /proc/self/stat
set -e

# Mounts. What is written to the machine's /var and /etc goes to the directory, /run and /mnt are empty.
mount --make-rshared /
mount -t proc proc /proc
for path in etc var; do
    mkdir -p "$dir/over/$path" "$dir/work/$path"
    mount -t overlay overlay -o "lowerdir=/$path,upperdir=$dir/over/$path,workdir=$dir/work/$path" "/$path"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir -p "$dir/disk" /mnt/spark "$dir/state" /var/lib/sealed-shuffle
mount --bind "$dir/disk" /mnt/spark
mount --bind "$dir/state" /var/lib/sealed-shuffle

# Kubelet sets what is not of a name space: it gets files in its place.
mkdir "$dir/sysctl"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$dir/sysctl/${setting//\//-}
    echo "${setting#*=}" > "$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done

# The network: an address that is up without a cable, and a route for service addresses.
hostname $name
printf '127.0.0.1 localhost\n%s %s\n' $address $name > /etc/hosts
ip link set lo up
ip link add node0 type bridge
ip link add cable type veth peer name plug
ip link set cable master node0
ip link set cable up
ip link set plug up
ip address add $address/24 dev node0
ip link set node0 up
ip route add default dev node0
sysctl -q -w net.ipv4.ip_forward=1
echo "nameserver $address" > "$dir/resolv.conf"

mkdir -p "$dir/logs"
start() {
    log=$1
    shift
    # Without the test's pipe: it must have no other reader.
    "$@" > "$dir/logs/$log.log" 2>&1 < /dev/null &
}
conf=$dir/conf
# The end of all: the kernel takes name spaces away with their processes. Their ends are no news.
end() {
    disown -a
    kill -KILL -1
    exit 0
}
# A moment, and the end where the test is gone meanwhile.
moment() { read -r -t 0.1 _ || [ $? -gt 128 ] || end; }
listening() { until : 2>/dev/null > "/dev/tcp/127.0.0.1/$1"; do moment; done; }
start containerd containerd --config "$conf/containerd.toml"
start etcd "$program" etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn
start kube-apiserver "$program" kube-apiserver --etcd-servers http://127.0.0.1:2379 --advertise-address $address \
    --tls-cert-file "$conf/server.pem" --tls-private-key-file "$conf/server.key" --token-auth-file "$conf/tokens" \
    --authorization-mode Node,RBAC --service-cluster-ip-range 10.96.0.0/16 --allow-privileged \
    --cert-dir "$dir/apiserver" --profiling=false \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$conf/accounts.pub" --service-account-signing-key-file "$conf/accounts.key"
echo "is $pid"
# What follows ends where those before it do not answer.
listening 6443
until [ -S /run/containerd/containerd.sock ]; do moment; done
start kube-controller-manager "$program" kube-controller-manager --kubeconfig "$conf/kubeconfig" --leader-elect=false \
    --service-account-private-key-file "$conf/accounts.key" --root-ca-file "$conf/ca.pem" --profiling=false
start kube-scheduler "$program" kube-scheduler --kubeconfig "$conf/kubeconfig" --leader-elect=false --profiling=false
start kubelet "$program" kubelet --config "$conf/kubelet.yaml" --kubeconfig "$conf/kubeconfig" \
    --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet-pki" --node-ip $address --hostname-override $name
start kube-proxy "$program" kube-proxy --config "$conf/kube-proxy.yaml"
start dns "$program" dns --kubeconfig "$conf/kubeconfig" --bind $address:53

echo "started"
set +e
# Until the test is gone. Meanwhile bash reaps what is left to it.
while read -r _; do :; done
end
