// Command bootstrap keeps the rules of Lambda's Runtime API, or breaks the one that MODE names.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if err := run(os.Getenv("MODE")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func run(mode string) error {
	switch mode {
	case "fails to start":
		_, err := post("/init/error", `{"errorMessage":"no settings","errorType":"Init"}`)
		if err != nil {
			return err
		}
		_, _, err = next() // waits for its end
		return err
	case "exits":
		return fmt.Errorf("exits at once")
	}
	for {
		header, event, err := next()
		if err != nil {
			return err
		}
		id := header.Get("Lambda-Runtime-Aws-Request-Id")
		switch mode {
		case "answers":
			answer, err := json.Marshal(map[string]any{
				"event": json.RawMessage(event), "deadline": header.Get("Lambda-Runtime-Deadline-Ms"), "trace": header.Get("Lambda-Runtime-Trace-Id"),
				"arn": header.Get("Lambda-Runtime-Invoked-Function-Arn"), "function": os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), "own": os.Getenv("OWN"),
			})
			if err != nil {
				return err
			}
			if _, err := post("/invocation/"+id+"/response", string(answer)); err != nil {
				return err
			}
		case "fails":
			if _, err := post("/invocation/"+id+"/error", `{"errorMessage":"no","errorType":"No"}`); err != nil {
				return err
			}
		case "exits with an event":
			return fmt.Errorf("exits with an event")
		case "breaks rules":
			var broken []any
			for _, attempt := range []func() (int, error){
				func() (int, error) { return get("/invocation/next") }, // without having answered
				func() (int, error) { return post("/invocation/stranger/response", "{}") },
				func() (int, error) { return post("/invocation/"+id+"/error", "{}") },
				func() (int, error) { return post("/invocation/"+id+"/error", "garbage") },
				func() (int, error) { return post("/init/error", "{}") },
			} {
				status, err := attempt()
				if err != nil {
					return err
				}
				broken = append(broken, status)
			}
			answer, err := json.Marshal(broken)
			if err != nil {
				return err
			}
			if _, err := post("/invocation/"+id+"/response", string(answer)); err != nil {
				return err
			}
		}
	}
}

func base() string { return "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime" }

func next() (http.Header, []byte, error) {
	resp, err := http.Get(base() + "/invocation/next")
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.Header, body, err
}

func get(path string) (int, error) {
	resp, err := http.Get(base() + path)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func post(path, body string) (int, error) {
	resp, err := http.Post(base()+path, "application/json", bytes.NewBufferString(body))
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
