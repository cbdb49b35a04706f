"""What is seen: from a screen to the network's sparse inputs."""
