// Package chart holds the chart in deploy/helm against Helm's own engine, linter and schema checks, without Helm's client.
package chart

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

const dir = "../../../deploy/helm/sealed-shuffle"

type object = map[string]any

func loaded(t *testing.T) *chart.Chart {
	t.Helper()
	made, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// rendered has the objects of the chart by their kinds.
func rendered(t *testing.T, values object) (map[string]object, error) {
	t.Helper()
	made := loaded(t)
	options := chartutil.ReleaseOptions{Name: "shuffle", Namespace: "spark"}
	all, err := chartutil.ToRenderValues(made, values, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(made, all)
	if err != nil {
		return nil, err
	}
	objects := map[string]object{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, document := range strings.Split(text, "\n---\n") {
			var found object
			if err := yaml.UnmarshalStrict([]byte(document), &found); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			if found != nil {
				objects[found["kind"].(string)] = found
			}
		}
	}
	return objects, nil
}

func TestLinterHasNoRemark(t *testing.T) {
	for _, message := range lint.All(dir, object{}, "spark", true).Messages {
		// An icon is for shops.
		if message.Severity > support.InfoSev {
			t.Error(message)
		}
	}
}

// The pod of the chart is that of the manifests, but for names that a release gives.
func TestDefaultsAreTheManifests(t *testing.T) {
	objects, err := rendered(t, object{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../../deploy/kubernetes/daemonset/sealed-shuffle.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest object
	if err := yaml.UnmarshalStrict(text, &manifest); err != nil {
		t.Fatal(err)
	}
	// Kustomize sets them.
	replaced := strings.NewReplacer(
		"image: busybox\n", "image: busybox:1.37\n",
		"image: sealed-shuffle\n", "image: sealed-shuffle:0.1.0\n        imagePullPolicy: IfNotPresent\n",
		"name: spark-local}", "name: spark-local-0}", "name: spark-local,", "name: spark-local-0,",
		"name: spark-local\n", "name: spark-local-0\n",
		"configMap: {name: sealed-shuffle}", "configMap: {name: shuffle}",
	)
	if err := yaml.UnmarshalStrict([]byte(replaced.Replace(string(text))), &manifest); err != nil {
		t.Fatal(err)
	}
	ours, theirs := podSpec(objects["DaemonSet"]), podSpec(manifest)
	if ours != theirs {
		t.Errorf("the chart has\n%s\nand the manifests have\n%s", ours, theirs)
	}
	if conf := objects["ConfigMap"]["data"].(object)["spark-defaults.conf"]; !sameKeys(t, conf.(string), "daemonset") {
		t.Errorf("the chart has other keys than the manifests:\n%s", conf)
	}
}

// With the hand-over the chart has the container, the volumes, the keys and the rules of the manifests.
func TestHandOverIsTheManifests(t *testing.T) {
	objects, err := rendered(t, object{"handOver": object{"enabled": true}})
	if err != nil {
		t.Fatal(err)
	}
	conf := objects["ConfigMap"]["data"].(object)["spark-defaults.conf"].(string)
	if !sameKeys(t, conf, "hand-over") {
		t.Errorf("the chart has other keys than the manifests:\n%s", conf)
	}
	text, err := os.ReadFile("../../../deploy/kubernetes/hand-over/hand-over.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var patch object
	added := strings.ReplaceAll(string(text), "image: sealed-shuffle\n", "image: sealed-shuffle:0.1.0\n        imagePullPolicy: IfNotPresent\n")
	if err := yaml.UnmarshalStrict([]byte(added), &patch); err != nil {
		t.Fatal(err)
	}
	of := func(set object, list, name string) string {
		spec := set["spec"].(object)["template"].(object)["spec"].(object)
		for _, entry := range spec[list].([]any) {
			if entry.(object)["name"] == name {
				text, _ := yaml.Marshal(entry)
				return string(text)
			}
		}
		return ""
	}
	for _, part := range [][2]string{{"containers", "hand-over"}, {"volumes", "run"}, {"volumes", "token"}} {
		ours, theirs := of(objects["DaemonSet"], part[0], part[1]), of(patch, part[0], part[1])
		if ours == "" || ours != theirs {
			t.Errorf("the chart has\n%s\nand the manifests have\n%s", ours, theirs)
		}
	}
	if of(objects["DaemonSet"], "volumes", "secret") != "" {
		t.Error("the chart mounts a Secret that nobody makes")
	}
	if _, all := objects["ClusterRoleBinding"]; !all {
		t.Errorf("without namespaces all are watched: %v", objects)
	}
	some, err := rendered(t, object{"handOver": object{"enabled": true, "namespaces": []any{"a", "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, all := some["ClusterRoleBinding"]; all || some["RoleBinding"] == nil {
		t.Errorf("with namespaces no others are read: %v", some)
	}
	if container := of(some["DaemonSet"], "containers", "hand-over"); strings.Count(container, "--namespace") != 2 {
		t.Errorf("it watches other namespaces:\n%s", container)
	}
}

// Prometheus finds a port of this name in the pod, and the server listens where it can be reached.
func TestPodMonitorFindsThePort(t *testing.T) {
	objects, err := rendered(t, object{"podMonitor": object{"enabled": true}, "adminPort": 7448})
	if err != nil {
		t.Fatal(err)
	}
	monitor := objects["PodMonitor"]["spec"].(object)
	endpoint := monitor["podMetricsEndpoints"].([]any)[0].(object)
	labels := objects["DaemonSet"]["spec"].(object)["template"].(object)["metadata"].(object)["labels"].(object)
	for key, value := range monitor["selector"].(object)["matchLabels"].(object) {
		if labels[key] != value {
			t.Errorf("it selects pods with %s=%v, and they have %v", key, value, labels[key])
		}
	}
	pod := objects["DaemonSet"]["spec"].(object)["template"].(object)["spec"].(object)
	named := map[any]any{}
	for _, port := range pod["containers"].([]any)[0].(object)["ports"].([]any) {
		named[port.(object)["name"]] = port.(object)["containerPort"]
	}
	if fmt.Sprint(named[endpoint["port"]]) != "7448" {
		t.Errorf("%s is not among the ports: %v", endpoint["port"], named)
	}
	conf := objects["ConfigMap"]["data"].(object)["spark-defaults.conf"].(string)
	if address := keys(conf)["spark.sealed.admin.address"]; address != "0.0.0.0:7448" {
		t.Errorf("it listens at %s", address)
	}
}

func podSpec(set object) string {
	spec := set["spec"].(object)["template"].(object)["spec"]
	text, _ := yaml.Marshal(spec)
	return string(text)
}

func sameKeys(t *testing.T, conf, of string) bool {
	text, err := os.ReadFile("../../../deploy/kubernetes/" + of + "/spark-defaults.conf")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(keys(conf)) == fmt.Sprint(keys(string(text)))
}

func keys(conf string) map[string]string {
	found := map[string]string{}
	for _, line := range strings.Split(conf, "\n") {
		if fields := strings.Fields(line); len(fields) == 2 && strings.HasPrefix(fields[0], "spark.") {
			found[fields[0]] = fields[1]
		}
	}
	return found
}

func TestEveryCombinationRenders(t *testing.T) {
	choices := []object{
		{"directories": object{"enabled": false, "image": "busybox:1.37"}},
		{"localDirs": []any{"/data/1", "/data/2"}},
		{"image": object{"repository": "registry.example/sealed-shuffle", "tag": "1", "pullPolicy": "Always"}},
		{"conf": object{"spark.sealed.cleanup.applications": "on", "spark.sealed.app.max": 3, "spark.x": true}},
		{"nodeSelector": object{"disk": "fast"}, "affinity": object{"nodeAffinity": object{}}, "tolerations": []any{}},
		{"podAnnotations": object{"a": "b"}, "priorityClassName": "high", "imagePullSecrets": []any{object{"name": "x"}}},
		{"user": 999, "group": 1000, "port": 7447, "adminPort": 7448},
		{"podMonitor": object{"enabled": true, "interval": "1m", "labels": object{"release": "prometheus"}}},
		{"handOver": object{"enabled": true, "namespaces": []any{"spark"}}},
	}
	for chosen := range 1 << len(choices) {
		values := object{}
		for number, choice := range choices {
			if chosen>>number&1 == 1 {
				for key, value := range choice {
					values[key] = value
				}
			}
		}
		objects, err := rendered(t, values)
		if err != nil {
			t.Fatalf("%v: %v", values, err)
		}
		monitored, handed := chosen>>(len(choices)-2)&1, chosen>>(len(choices)-1)
		if want := 2 + monitored + 3*handed; len(objects) != want {
			t.Fatalf("%v: %d objects", values, len(objects))
		}
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	for key, value := range map[string]any{
		"port": 70000, "user": 0, "localDirs": []any{}, "stateDir": "relative", "typo": 1,
		"conf": object{"shuffle.port": "1"}, "secret": object{"name": ""},
		"handOver": object{"enabled": true, "namespaces": []any{"No Name"}}, "podMonitor": object{"interval": "often"},
	} {
		if _, err := rendered(t, object{key: value}); err == nil {
			t.Errorf("%s=%v is taken", key, value)
		}
	}
}
