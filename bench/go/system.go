package main

import (
	"net"
	"time"

	"bench/harness"
)

func idle() {
	never := make(chan struct{})
	inAnHour := time.NewTimer(time.Hour)
	go func() { <-never }()
	time.Sleep(time.Second / 2)
	before := harness.Switches()
	time.Sleep(2 * time.Second)
	harness.Report("wakeups", float64(harness.Switches()-before))
	inAnHour.Stop()
}

func serve(conn net.Conn) {
	defer conn.Close()
	var buf [4096]byte
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return
		}
		if _, err = conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// Echoes until SIGTERM ends the process.
func echoServer() {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	harness.Check(err == nil, "listen")
	port := listener.Addr().(*net.TCPAddr).Port
	harness.Report("port", float64(port))
	for {
		conn, err := listener.Accept()
		harness.Check(err == nil, "accept")
		go serve(conn)
	}
}
