package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	provisionerName    = "trivet.dev/folders"
	selectedNode       = "volume.kubernetes.io/selected-node"
	storageProvisioner = "volume.kubernetes.io/storage-provisioner"
	provisionedBy      = "pv.kubernetes.io/provisioned-by"
)

// What failed, or met somebody else's change, is tried again after this time.
const repeatAfter = 10 * time.Second

// provisioner serves the StorageClass: a claim whose Kubernetes node the scheduler has chosen gets a folder of that node,
// a claim that asks for more is given more, and the folder goes when the claim is gone and the class says Delete.
// Nothing watches how much a folder holds: the sizes are words.
type provisioner struct {
	client  kubernetes.Interface
	volumes string
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig, volumes string
	command := &cobra.Command{Use: "provisioner", RunE: func(cmd *cobra.Command, _ []string) error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		p := &provisioner{client, volumes}
		factory := informers.NewSharedInformerFactory(client, repeatAfter)
		_, err1 := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(onChange(p.claim))
		_, err2 := factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(onChange(p.volume))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		factory.Start(cmd.Context().Done())
		<-cmd.Context().Done()
		return nil
	}}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "the cluster's administrator")
	command.Flags().StringVar(&volumes, "volumes", "", "the folder that holds the volumes of every Kubernetes node")
	return command
}

func onChange[T any](act func(context.Context, *T) error) cache.ResourceEventHandler {
	run := func(object any) {
		if err := act(context.Background(), object.(*T)); err != nil {
			klog.ErrorS(err, "provisioner")
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: run, UpdateFunc: func(_, object any) { run(object) }}
}

func (p *provisioner) claim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	node := claim.Annotations[selectedNode]
	if claim.Spec.VolumeName != "" {
		return p.grow(ctx, claim)
	}
	if node == "" || claim.Annotations[storageProvisioner] != provisionerName {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.volumes, node, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			StorageClassName:              *claim.Spec.StorageClassName,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
	if _, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("volume for %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// grow makes the volume first, then the claim, as large as the claim asks: what a failure leaves half done is finished later.
func (p *provisioner) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase != corev1.ClaimBound || wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := p.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil || volume.Annotations[provisionedBy] != provisionerName {
		return err
	}
	volume.Spec.Capacity[corev1.ResourceStorage] = wanted
	if _, err := p.client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("grow volume %s: %w", volume.Name, err)
	}
	grown := claim.DeepCopy()
	grown.Status.Capacity[corev1.ResourceStorage] = wanted
	if _, err := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, grown, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("grow claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

func (p *provisioner) volume(ctx context.Context, volume *corev1.PersistentVolume) error {
	mine := volume.Annotations[provisionedBy] == provisionerName && volume.Spec.Local != nil
	if !mine || volume.DeletionTimestamp != nil || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	return p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
}
