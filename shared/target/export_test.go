package target

import "github.com/riposte-dev/riposte/shared/kube"

// LikelyOwners is likelyOwners.
func LikelyOwners(pod string) map[kube.Resource]string { return likelyOwners(pod) }
