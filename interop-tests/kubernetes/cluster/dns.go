package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// domain is the cluster's.
const domain = ".svc.cluster.local."

// names answers for services, for what stands behind headless ones, and for nodes; it asks the API server each time.
type names struct{ client kubernetes.Interface }

// serveNames is a name server for a cluster of a few services: IPv4 over UDP, no recursion.
func serveNames() {
	flags := flag.NewFlagSet("dns", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "whom to ask")
	bind := flags.String("bind", "", "address and port")
	_ = flags.Parse(os.Args[1:])
	if err := serve(*kubeconfig, *bind); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(kubeconfig, bind string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	socket, err := net.ListenPacket("udp", bind)
	if err != nil {
		return err
	}
	known := names{client}
	for {
		buffer := make([]byte, 512)
		size, peer, err := socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		go func() {
			if answer, err := known.answer(buffer[:size]); err == nil {
				_, _ = socket.WriteTo(answer, peer)
			}
		}()
	}
}

func (n names) answer(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil || len(message.Questions) != 1 {
		return nil, fmt.Errorf("no query: %w", err)
	}
	question := message.Questions[0]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: message.ID, Response: true, Authoritative: true, RecursionDesired: message.RecursionDesired,
		},
		Questions: message.Questions,
	}
	addresses := n.addresses(strings.ToLower(question.Name.String()))
	if len(addresses) == 0 {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		ip := net.ParseIP(address).To4()
		if ip == nil || question.Type != dnsmessage.TypeA {
			continue
		}
		reply.Answers = append(reply.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte(ip)},
		})
	}
	return reply.Pack()
}

func (n names) addresses(name string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	inside, of := strings.CutSuffix(name, domain)
	if !of {
		return n.node(ctx, strings.TrimSuffix(name, "."))
	}
	switch parts := strings.Split(inside, "."); len(parts) {
	case 2:
		return n.service(ctx, parts[1], parts[0])
	case 3:
		return n.behind(ctx, parts[2], parts[1], parts[0])
	}
	return nil
}

func (n names) node(ctx context.Context, name string) (found []string) {
	node, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	for _, address := range node.Status.Addresses {
		if address.Type == "InternalIP" {
			found = append(found, address.Address)
		}
	}
	return found
}

func (n names) service(ctx context.Context, namespace, name string) []string {
	service, err := n.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	if service.Spec.ClusterIP != "None" {
		return service.Spec.ClusterIPs
	}
	return n.behind(ctx, namespace, name, "")
}

// behind has the addresses of the ready pods of a service, or of the one with a host name.
func (n names) behind(ctx context.Context, namespace, service, hostname string) (found []string) {
	selector := metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service}
	slices, err := n.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, selector)
	if err != nil {
		return nil
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			named := endpoint.Hostname != nil && *endpoint.Hostname == hostname
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if ready && (hostname == "" || named) {
				found = append(found, endpoint.Addresses...)
			}
		}
	}
	return found
}
