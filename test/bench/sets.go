package bench

// Sets are what can be measured, by name.
func Sets() map[string]func(*B) {
	sets := map[string]func(*B){
		"start": start, "storm": storm, "burst/60": burst(60, 7), "burst/600": burst(600, 0), "memory": memory, "router": router, "code": code,
	}
	for _, c := range changes() {
		sets["warm/"+c.function] = c.warm
	}
	return sets
}

// Goals are the sets with figures that have a goal, in order.
func Goals() []string {
	return []string{"burst/60", "router", "start", "storm", "warm/delete-pod", "warm/label", "warm/taint"}
}
