// Sends a message to the URL by the WebSocket that node brings, and prints what comes back.

const socket = new WebSocket(process.argv[2]);
socket.onopen = () => socket.send("is anybody there?");
socket.onmessage = ({ data }) => {
  console.log(`echoed ${data}`);
  socket.close(1000);
};
socket.onerror = (event) => {
  console.log(event.error ?? event.message);
  process.exitCode = 1;
};
