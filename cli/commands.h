/* commands.h - the words that `belay` knows (private).
 *
 * Each takes what follows it, with itself as argv[0], and returns the exit
 * code. SIGPIPE is ignored by then.
 */
#ifndef BELAY_CLI_COMMANDS_H
#define BELAY_CLI_COMMANDS_H

int belay__cmd_batch(int argc, char **argv);
int belay__cmd_chat(int argc, char **argv);
int belay__cmd_doctor(int argc, char **argv);
int belay__cmd_gpu(int argc, char **argv);
int belay__cmd_gpu_demo(int argc, char **argv); /* of the word above */
int belay__cmd_gpu_list(int argc, char **argv);
int belay__cmd_log(int argc, char **argv);
int belay__cmd_sim(int argc, char **argv);

#endif
